"""From what a network returns to logits of the classes that are studied."""

from collections.abc import Sequence

from torch import Tensor

from conceptseg.config import Reading
from conceptseg.errors import InputError, few, nearest
from conceptseg.network.outputs import FOLDED, Taken, check_alike, describe, take
from conceptseg.network.values import Numbers, as_logits, judge, judge_again, merged, paired


class Interpretation:
    """How a network's output is read: which part, what numbers, which classes.

    `outputs` are the names of the network's maps, in their order; `classes` those of the logits
    that come out of it: the outputs, merged and without the dropped; or of independent classes
    the one that is studied, and before it the rest, "not NAME". `taken` and `numbers` say what
    was found on the first image, None before it; where its maps tell too little, as those of a
    blank image may, all that follow are asked until they tell. With `every`, independent classes
    are all put out side by side, for :mod:`conceptseg.network.independent` alone.

    Raises :class:`~conceptseg.errors.InputError` for names that are given twice or unknown, less
    than two classes, and independent classes of which none is chosen.
    """

    def __init__(self, outputs: Sequence[str], reading: Reading, positive_class: str | None):
        self.outputs = tuple(outputs)
        self.reading = reading
        self.positive_class = positive_class
        self.taken: Taken | None = None
        self.numbers: Numbers | None = None
        self.every = False
        self._alike = True
        _check_names(self.outputs, positive_class)
        self.independent = (reading.values or "").startswith("independent")
        self.groups = _groups(self.outputs, reading)
        self.classes = self._classes()

    @property
    def rest(self) -> str | None:
        """Of independent classes: the class of all pixels that are not of the one studied."""
        return self.classes[0] if self.independent else None

    @property
    def covered(self) -> tuple[str, ...]:
        """Classes of the masks that belong to the one studied, besides its own."""
        return self.reading.covers.get(self.classes[1], ()) if self.independent else ()

    def names_of(self, class_id: int) -> tuple[str, ...]:
        """The name of a class, and those of the outputs that were merged into it."""
        name = self.classes[class_id]
        if self.independent:
            return (name,)
        return tuple(dict.fromkeys((name, *(self.outputs[k] for k in self.groups[name]))))

    def settle(self, output: object, images: int, size: Sequence[int]) -> None:
        """Find out which part is taken and what its numbers are, from the first image's output.

        A graph on the output, if it has one, is read too. Raises as :func:`judge`, :func:`take` and
        :func:`check_alike` do.
        """
        taken = take(output, len(self.outputs), images, size, self.reading.output)
        self._alike = check_alike(taken)
        if taken.rule in FOLDED:
            if self.reading.values not in (None, "logits"):
                raise InputError(
                    f"model.values is {self.reading.values}, but what the network returns is "
                    f"folded to {FOLDED[taken.rule]}, of classes of which each pixel has one: "
                    "leave the key out"
                )
            self.numbers = Numbers("logits", FOLDED[taken.rule])
        else:
            self.numbers = judge(taken.maps, self.reading.values)
        self.taken = Taken(taken.maps[:0].detach(), taken.path, taken.rule)

    def logits(self, output: object, images: int, size: Sequence[int]) -> Tensor:
        """Logits [n, k, y, x] of the classes, on the map's own grid.

        Raises :class:`~conceptseg.errors.InputError` for outputs without class maps, for another
        number of them than is named, and where they show that the first ones were read wrongly.
        """
        taken = take(output, len(self.outputs), images, size, self.reading.output)
        self._follow(taken, size)
        if self.numbers:
            logits = as_logits(taken.maps, self.numbers.values, self.numbers.logs)
        else:
            logits = as_logits(taken.maps, self.reading.values or "logits")
        count = logits.shape[1]
        if count == 1 and len(self.outputs) == 2:
            names = self.classes if self.independent else self.outputs
            return paired(logits, first=self.positive_class == names[0])
        if count != len(self.outputs):
            raise self._wrong_count(count, output)
        if self.independent and self.every:
            return logits
        if self.independent:
            own = self.outputs.index(self.classes[1])
            return paired(logits[:, own : own + 1])
        if self.classes == self.outputs:
            return logits
        return merged(logits, tuple(self.groups.values()))

    def _follow(self, taken: Taken, size: Sequence[int]) -> None:
        """What a further output tells of how all are read, and whether it is as the first was."""
        if self.taken is not None and taken.path != self.taken.path:
            raise InputError(
                f"of what the network returns for an input of {size[0]} x {size[1]} {taken.where} "
                f"would be taken ({taken.rule}), but of the first {self.taken.where} was: say "
                "which by model.output, an index or key"
            )
        self._alike = self._alike or check_alike(taken)
        if self.numbers is not None:
            self.numbers = judge_again(self.numbers, taken.maps)

    def facts(self) -> dict[str, str]:
        """What decides how numbers are read, for a fingerprint; nothing where all is left out."""
        given = self.reading.model_dump_json(exclude_defaults=True)
        return {} if given == "{}" else {"reading": given}

    def _classes(self) -> tuple[str, ...]:
        wrong = [name for name in self.reading.covers if name not in self.outputs]
        if wrong or (self.reading.covers and not self.independent):
            raise InputError(
                "model.covers is for independent classes (model.values), by their names"
                + (f"; {nearest(wrong[0], self.outputs)}" if wrong else "")
            )
        if self.independent:
            if self.reading.merge or self.reading.drop:
                raise InputError(
                    "model.merge and model.drop are for classes of which each pixel has one; "
                    "independent classes need neither: leave the keys out"
                )
            if self.positive_class is None:
                raise InputError(
                    f"model.values is {self.reading.values}: each class is a yes or no of its own, "
                    "and a study looks at one of them; say which by model.positive_class: "
                    + ", ".join(self.outputs)
                )
            return (f"not {self.positive_class}", self.positive_class)
        names = tuple(self.groups)
        if len(names) < 2:
            raise InputError("model.merge and model.drop leave one class; at least two are needed")
        return names

    def _wrong_count(self, count: int, output: object) -> InputError:
        if count == 1:
            return InputError(
                f"it puts out one class map, which tells two classes apart, but "
                f"{len(self.outputs)} are named: give two in model.classes"
            )
        listed = few(self.outputs, 4)
        return InputError(
            f"it puts out {count} class maps ({describe(output)}), but {len(self.outputs)} "
            f"classes are named ({listed}): name the network's own in model.classes, in its order"
        )


def _check_names(outputs: Sequence[str], positive_class: str | None) -> None:
    doubled = [name for name in outputs if list(outputs).count(name) > 1]
    if doubled:
        raise InputError(f"model.classes: {doubled[0]!r} is named twice; give each its own name")
    if len(outputs) < 2:
        raise InputError(
            "model.classes: at least two classes are needed; for a network with one output "
            "map name the background as well"
        )
    if positive_class is not None and positive_class not in outputs:
        raise InputError(
            f"model.positive_class: no class {positive_class!r}; {nearest(positive_class, outputs)}"
        )


def _groups(outputs: Sequence[str], reading: Reading) -> dict[str, tuple[int, ...]]:
    """The classes and the places of the outputs that each is made of, in the order of the first."""
    owner = {name: group for group, names in reading.merge.items() for name in names}
    given = [name for names in reading.merge.values() for name in names]
    for name in (*given, *reading.drop):
        if name not in outputs:
            key = "drop" if name in reading.drop else "merge"
            raise InputError(
                f"model.{key}: the network has no output {name!r}; {nearest(name, outputs)}"
            )
        if (*given, *reading.drop).count(name) > 1:
            raise InputError(f"model.merge, model.drop: {name!r} is named twice")
    for group in reading.merge:
        if group in outputs and owner.get(group) != group and group not in reading.drop:
            raise InputError(
                f"model.merge: {group!r} is an output of its own; list it among those that are "
                "merged, or choose another name"
            )
    groups: dict[str, tuple[int, ...]] = {}
    for place, name in enumerate(outputs):
        if name not in reading.drop:
            group = owner.get(name, name)
            groups[group] = (*groups.get(group, ()), place)
    return groups
