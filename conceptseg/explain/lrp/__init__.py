"""Layer-wise relevance propagation for segmentation networks, with the rules of Zennit.

Read in this order: `graph` (which operations a network runs, recorded once), `canonise` (a copy of
the network in which BatchNorm is folded away, checked against the original), `fold` (how it is),
`places` (which layers are the first and the last), `composites` (which rule for which layer),
`kept` (one weighted layer under a rule of Zennit, its denominators kept), `propagate` (the copy's
pass, in which every operation hands relevance on by its rule), `flow` (what each received and
handed on), `start` (relevance of the logits), and `engine`, which is what others use. Beside them:
`shares` and `constants` (sums, and norms behind rectifiers), `rescale` with `chosen` and `choices`
(DeepLIFT), `doubts` (what speaks against a map) and `suited` (which composite suits a network).
"""
