"""Operations by the rule that they follow, under the names by which torch calls them."""

ACTIVATIONS = frozenset(
    {"relu", "relu_", "relu6", "hardtanh", "hardtanh_", "leaky_relu", "leaky_relu_", "prelu"}
    | {"elu", "elu_", "selu", "selu_", "celu", "silu", "gelu", "hardswish", "mish", "softplus"}
    | {"threshold", "threshold_", "clamp", "clamp_", "clip", "clamp_min", "clamp_max", "abs"}
    | {"tanh", "tanh_", "rrelu", "softsign", "batch_norm", "neg", "__neg__"}
)  # fmt: skip
RECTIFIERS = frozenset(
    {"relu", "relu_", "relu6", "hardtanh", "hardtanh_", "threshold", "threshold_", "hardswish"}
    | {"clamp", "clamp_", "clip", "clamp_min", "clamp_min_"}
)
"""Those of them whose zeros are units that say nothing."""
NORMS = frozenset({"batch_norm", "instance_norm"})
"""Norms by running statistics: instance_norm where it has such."""
_VALUE_GATES = frozenset(
    {"sigmoid", "sigmoid_", "hardsigmoid", "logsigmoid", "exp", "sqrt", "rsqrt", "reciprocal"}
    | {"pow", "square", "__pow__", "log", "logit"}
)  # fmt: skip
GATES = _VALUE_GATES | frozenset(
    {"softmax", "log_softmax", "softmin", "var", "std", "norm", "vector_norm"}
    | {"linalg_vector_norm", "__rpow__", "cosine_similarity"}
)  # fmt: skip
BY_VALUE = ACTIVATIONS | _VALUE_GATES
"""Operations whose value at a place depends on their input there alone."""
SUMS = frozenset({"add", "add_", "__add__", "__radd__", "__iadd__"})
DIFFERENCES = frozenset(
    {"sub", "sub_", "__sub__", "__isub__", "__rsub__", "rsub", "subtract"}
)  # fmt: skip
PRODUCTS = frozenset({"mul", "mul_", "__mul__", "__rmul__", "__imul__", "multiply"})
REVERSED_RATIOS = frozenset({"__rdiv__", "__rtruediv__"})
RATIOS = REVERSED_RATIOS | {"div", "div_", "truediv", "__div__", "__truediv__", "__itruediv__"}
MATRICES = frozenset({"matmul", "__matmul__", "bmm"})
LINEAR_MAPS = frozenset(
    {"interpolate", "upsample", "avg_pool1d", "avg_pool2d", "avg_pool3d", "adaptive_avg_pool1d"}
    | {"adaptive_avg_pool2d", "adaptive_avg_pool3d", "mean", "sum", "fold", "grid_sample"}
)  # fmt: skip
OWN_NORMS = frozenset({"layer_norm", "group_norm", "instance_norm", "rms_norm"})
MAXIMA = frozenset(
    {f"{a}max_pool{d}d" for a in ("", "_", "adaptive_") for d in (1, 2, 3)}
    | {f"{a}max_pool{d}d_with_indices" for a in ("", "adaptive_") for d in (1, 2, 3)}
    | {"max", "amax", "maximum", "fmax", "min", "amin", "minimum", "fmin", "aminmax", "topk"}
    | {"sort", "msort", "median", "nanmedian", "kthvalue", "quantile"}
)  # fmt: skip
MINIMA = frozenset({"min", "amin", "minimum", "fmin"})
MASKS = frozenset({"where", "masked_fill", "masked_fill_"})
"""Operations that choose by a mask, which is a constant."""
MOVES = frozenset(
    {"view", "reshape", "permute", "transpose", "flatten", "unflatten", "squeeze", "unsqueeze"}
    | {"squeeze_", "unsqueeze_", "transpose_", "t", "movedim", "moveaxis", "swapaxes", "ravel"}
    | {"expand", "expand_as", "repeat", "repeat_interleave", "tile", "contiguous", "clone", "to"}
    | {"float", "double", "half", "type", "type_as", "cpu", "cuda", "detach", "chunk", "split"}
    | {"split_with_sizes", "unbind", "__getitem__", "__setitem__", "index_select", "gather"}
    | {"narrow", "select", "cat", "concat", "concatenate", "stack", "pad", "pixel_shuffle"}
    | {"pixel_unshuffle", "channel_shuffle", "roll", "flip", "unfold", "view_as", "reshape_as"}
    | {"dropout", "dropout_", "dropout2d", "dropout1d", "dropout3d", "feature_dropout"}
    | {"alpha_dropout", "feature_alpha_dropout", "__get__", "copy_", "identity", "tensor_split"}
    | {"masked_fill", "masked_fill_", "where", "broadcast_to", "rot90", "atleast_3d", "item"}
    | {"requires_grad_", "retain_grad", "register_hook", "_set_item", "unsafe_chunk"}
    | {"native_channel_shuffle", "column_stack", "hstack", "vstack", "T", "is_contiguous"}
)  # fmt: skip
