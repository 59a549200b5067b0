"""Concept-conditional relevance over a data set.

`plan` lists the steps. `engines`: the network as LRP sees it; `survey`: how much relevance each
channel holds; `choose`: which channels and images are looked at; `maps`: their conditional maps and
context scores; `ranks` and `control`: the same of networks of shuffled weights, which `shuffles`
compares with, and what the rules retain; `background`: how relevance changes when the background is
replaced; `flip`: what the score loses when channels go; `assess` and `classes`: numbers with their
certainty; `findings`, `tables`, `verdicts`, `sections`, `exhibits`, `charts`: what is shown of it.
"""
