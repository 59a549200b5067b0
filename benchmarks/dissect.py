"""The counting sweep of a dissection against its floor, and against plain routes of counting.

    python benchmarks/dissect.py [--config studies/dissect_planted.yaml] [--set KEY=VALUE ...]
    python benchmarks/dissect.py --peer DIR    (a checkout of davidbau/dissect, for its routines)

Floor: the bare passes that the sweep has to make (forwards where concepts need the prediction, else
encoder passes) and one scatter-add of each unit's bin and each category's slot, both timed on the
same images and in the same batches. The study adds concept maps, enlarging, and what it keeps.
With --peer, the same tensors go through dissect's running quantile and its conditional mean of
indicators, which are what it computes IoU from.
"""

import argparse
import sys
import tempfile
import time
import types
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))  # the checkout, for networks of its tests

from common import median, median_ratio  # noqa: E402

QUANTILE = 0.01


def in_turn(functions, rounds) -> dict[str, list[float]]:
    """CPU seconds of all threads in each round, after one that is not counted.

    Processor time, for it says the same on a machine that others use as well.
    """
    times: dict[str, list[float]] = {name: [] for name in functions}
    for turn in range(rounds + 1):
        for name, function in functions.items():
            start = time.process_time()
            function()
            if turn:
                times[name].append(time.process_time() - start)
    return times


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--config", default="studies/dissect_planted.yaml")
    parser.add_argument("--data-root")
    parser.add_argument("--set", action="append", default=[])
    parser.add_argument("--images", type=int, default=48)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--peer")
    parser.add_argument("--whole", action="store_true", help="also run the whole study once")
    arguments = parser.parse_args()

    from conceptseg.engine import reading, run, start
    from conceptseg.engine.known import Known
    from conceptseg.engine.work import Task, map_part
    from conceptseg.settings import parse_override, read_settings
    from conceptseg.study.dissect.config import Dissect
    from conceptseg.study.dissect.pilot import PLAN, Pilot, make_plan

    overrides = [parse_override(text) for text in arguments.set]
    if arguments.data_root:
        overrides.append(("data.root", str(Path(arguments.data_root).resolve())))
    study = read_settings("dissect", Dissect, Path(arguments.config), overrides).study
    assert isinstance(study, Dissect)
    context = start.prepare(study)
    pilot = Pilot(study)
    task = Task("pilot", pilot, context, Known(), context.run.batch_size)
    state = map_part(task, pilot.samples(context, Known())).known
    plan = make_plan(study, context, state)[PLAN]
    loaded = list(reading.read(context, context.manifest.samples[: arguments.images], "optional"))
    sweep(study, context, plan, loaded, arguments.rounds)
    if arguments.peer:
        peer(study, context, plan, loaded, arguments.peer, min(3, arguments.rounds))
        print("2048 units of 16 x 16 at 56 x 56, 30 concepts, 16 images:")
        against(*drawn(), arguments.peer, 1)
    if arguments.whole:
        with tempfile.TemporaryDirectory() as out:
            print(run.run_study(study, context, Path(out)).timings["seconds"])


def sweep(study, context, plan, loaded, rounds) -> None:
    """The sweep's map against bare passes and one scatter-add, in turn."""
    import torch

    from conceptseg.network.record import encode
    from conceptseg.study.dissect.bins import Counter, resized
    from conceptseg.study.dissect.pilot import PLAN, observe
    from conceptseg.study.dissect.tally import COUNTER, Tally

    tally = Tally(study)
    sizes = [category.slots for category in plan.vocabulary.categories]
    ready = []
    with torch.no_grad():
        for batch in loaded:
            maps, slots = observe(context, batch, plan, study.label_px)
            grid = tuple(slots.shape[-2:])
            values = resized(maps, grid).transpose(0, 1).flatten(1)
            place = torch.searchsorted(
                torch.from_numpy(plan.bins.edges).float(), values, right=True
            )
            ready.append((maps, grid, slots, place))
    counter = Counter(plan.bins, context.run.device)

    def forwards():
        with torch.no_grad():
            for batch in loaded:
                context.model(batch.images)

    def encodes():
        for batch in loaded:
            encode(context.model, batch.images, context.layer)

    def scatter():
        for _, _, slots, place in ready:
            for own, size in zip(slots.flatten(1), sizes, strict=True):
                table = torch.zeros((len(place), plan.bins.count * size), dtype=torch.int64)
                one = torch.ones((), dtype=torch.int64).expand(place.shape)
                table.scatter_add_(1, place * size + own, one)

    def counts():
        for maps, grid, slots, _ in ready:
            counter.counts(maps, grid, slots, sizes)

    def whole():
        for batch in loaded:
            tally.map(context, batch, PLAN(plan) | COUNTER(counter))

    found = in_turn(
        {"forward": forwards, "encoder": encodes, "scatter": scatter, "counts": counts,
         "sweep": whole},
        rounds,
    )  # fmt: skip
    n = sum(len(batch) for batch in loaded)
    print(f"{n} images, {len(plan.live)} live units, {plan.vocabulary.slots} slots")
    for name, values in found.items():
        print(f"{name}: {1e3 * median(values) / n:.2f} CPU ms an image")
    bare = found["forward"] if plan.predicts else found["encoder"]
    floor = [a + b for a, b in zip(bare, found["scatter"], strict=True)]
    print(f"sweep / (bare passes + one scatter-add) = {median_ratio(found['sweep'], floor):.2f}")
    print(f"counting with enlarging / one scatter-add = "
          f"{median_ratio(found['counts'], found['scatter']):.2f}")  # fmt: skip


def peer(study, context, plan, loaded, folder, rounds) -> None:
    """dissect's routines on the study's own tensors, with the first category of concepts."""
    from conceptseg.study.dissect.pilot import observe

    ready = []
    for batch in loaded:
        maps, slots = observe(context, batch, plan, study.label_px)
        ready.append((maps, tuple(slots.shape[-2:]), slots[:1]))
    against(plan.bins, plan.vocabulary.categories[0].slots, ready, folder, rounds)


def drawn():
    """Smooth rectified maps of many units, and label maps of 30 concepts."""
    import torch
    import torch.nn.functional as F

    from conceptseg.study.dissect.bins import Bins

    generator = torch.Generator().manual_seed(0)
    maps = F.interpolate(
        torch.randn(16, 2048, 4, 4, generator=generator), (16, 16), mode="bilinear"
    )
    maps = maps.sub_(0.3).relu_()
    labels = torch.randn(16, 30, 6, 6, generator=generator)
    labels = F.interpolate(labels, (56, 56), mode="bilinear").argmax(1)
    bins = Bins.of(maps[:8].transpose(0, 1).flatten(1).numpy(), 256)
    return bins, 32, [(maps[i : i + 8], (56, 56), labels[None, i : i + 8]) for i in (0, 8)]


def against(bins, slots_n, ready, folder, rounds) -> None:
    """dissect's quantile and conditional mean of indicators against counting all thresholds."""
    import torch

    from conceptseg.study.dissect.bins import Counter, resized
    from conceptseg.study.dissect.measures import choose_edges

    for name in ("statsmodels", "statsmodels.stats", "statsmodels.stats.correlation_tools"):
        sys.modules.setdefault(name, types.ModuleType(name))  # imported, for one unused function
    tools = sys.modules["statsmodels.stats.correlation_tools"]
    tools.cov_nearest = tools.corr_nearest = None
    sys.path.insert(0, folder)
    from netdissect import tally as theirs
    from netdissect.runningstats import RunningConditionalVariance, RunningQuantile

    counter = Counter(bins, "cpu")
    done: dict = {}

    def quantile():
        running = RunningQuantile(r=4096)
        for maps, grid, _ in ready:
            running.add(resized(maps, grid).permute(0, 2, 3, 1).reshape(-1, maps.shape[1]))
        running.quantiles([1 - QUANTILE])

    def ours():
        done["counts"] = sum(counter.counts(*one, [slots_n]) for one in ready)

    ours()
    counts = done["counts"].numpy()
    edges = choose_edges(counts.sum(2), (QUANTILE,))[:, 0]
    cut = torch.from_numpy(bins.edges[range(len(edges)), edges]).float()

    def conditional():
        running = RunningConditionalVariance()
        for maps, grid, slots in ready:
            on = (resized(maps, grid) >= cut[None, :, None, None]).float()
            for condition, sample in theirs.conditional_samples(on, slots[0][:, None] + 1):
                running.add(condition, sample)
        done["iou"] = theirs.iou_from_conditional_indicator_mean(running)

    found = in_turn({"quantile": quantile, "conditional mean": conditional, "ours": ours}, rounds)
    for name in ("quantile", "conditional mean"):
        print(f"dissect's {name} / counting = {median_ratio(found[name], found['ours']):.1f}")
    both = [a + b for a, b in zip(found["quantile"], found["conditional mean"], strict=True)]
    print(f"both / counting = {median_ratio(both, found['ours']):.1f}")
    shared = (counts[:, ::-1].cumsum(1)[:, ::-1])[range(len(edges)), edges + 1]
    total, active = counts.sum(1), shared.sum(1, keepdims=True)
    iou = torch.from_numpy(shared / (active + total - shared))
    peer_iou = done["iou"][1:].T  # condition 0 is every pixel
    shown = torch.from_numpy(total[0] > 0)[: peer_iou.shape[1]]
    gap = (iou[:, : peer_iou.shape[1]] - peer_iou)[:, shown].abs().max()
    print(f"largest difference of IoU at the same thresholds: {float(gap):.2g}")


if __name__ == "__main__":
    main()
