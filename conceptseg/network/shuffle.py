"""A network that has forgotten what it learnt: its weights, shuffled."""

import copy
from typing import TypeVar

import torch

from conceptseg.network.contract import Network

N = TypeVar("N", bound=Network)


def shuffled(model: N, seed: int) -> N:
    """A copy of a network in which the entries of each weight tensor are permuted.

    Each tensor keeps its values, and thereby their distribution and the network's scale; where
    they stood is lost. Tensors of one dimension (biases, the parameters of norms) and buffers (the
    statistics of norms) stay as they are. The same for a seed on every device; the network itself
    and the global random state are left alone.

    Source: Adebayo et al. 2018, "Sanity checks for saliency maps", arXiv:1810.03292, section 3,
    who draw weights anew; a permutation needs to know no initialisation.
    """
    generator = torch.Generator().manual_seed(seed)
    # A copy that is made in inference mode could never take part in a graph.
    with torch.inference_mode(False), torch.no_grad():
        other = copy.deepcopy(model)
        for parameter in other.parameters():
            if parameter.dim() > 1:
                order = torch.randperm(parameter.numel(), generator=generator)
                flat = parameter.detach().cpu().flatten()[order]
                parameter.copy_(flat.reshape(parameter.shape))
    return other
