"""The columns of an actmax result that its tables and its report share."""

from conceptseg.result.columns import Column

OF_REAL_MAX = Column("of_real_max", "picture / largest real")
ABOVE = {
    "earlier": Column("above_earlier", "other units less alike"),
    "forgot": Column("above_forgot", "other units less alike, shuffled"),
}
P_BH = {
    "earlier": Column("p_bh_earlier", "p BH, earlier layer"),
    "forgot": Column("p_bh_forgot", "p BH, shuffled network"),
}
UNITS = (
    Column("label", "detects (dissect)"),
    Column("real_median", "real images, median"),
    Column("real_q95", "real images, 95 %"),
    Column("real_max", "real images, largest"),
    Column("noise", "noise it began with"),
    Column("reached", "picture"),
    Column("percentile", "share of real images below"),
    OF_REAL_MAX,
    Column("alike_earlier", "likeness, earlier layer"),
    Column("seeds_agree_earlier", "seeds agree (cosine)"),
    Column("alike_forgot", "likeness, shuffled network"),
    *ABOVE.values(),
    *P_BH.values(),
)
"""The heads of the table of units."""
