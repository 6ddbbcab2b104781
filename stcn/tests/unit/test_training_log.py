import numpy as np
import pytest
import torch

from stcn.data.samples import two_object_sample
from stcn.engine import RunFolder, Trainer
from stcn.training_log import MAX_ROWS, Averages, progress_lines, sample_grid
from vidseg_common.distributed import DistInfo
from vidseg_common.logging import read_jsonl

H, W = 4, 6


def batch(size, num_objects=2):
    labels = np.zeros((3, H, W), np.int64)
    labels[:, :2, :3], labels[:, 2:, 3:] = 1, 2
    sample = two_object_sample(torch.zeros(3, 3, H, W), labels, 1, 2, {})
    fields = ("rgb", "gt", "sec_gt", "selector", "cls_gt")
    stacked = {name: torch.stack([sample[name]] * size) for name in fields}
    masks = torch.cat([stacked["gt"][:, 1], stacked["sec_gt"][:, 1]], 1)[:, :num_objects]
    return stacked, {"masks_1": masks, "masks_2": masks.clone()}


def test_averages_of_losses_and_pixels():
    averages = Averages()
    data, out = batch(2)
    out["masks_1"][:, 0] = 0  # misses the target in one of two frames
    for value in (1.0, 3.0):
        averages.add({"total_loss": torch.tensor(value)}, out, data)
    means = averages.report()
    assert averages.count == 0
    assert means["total_loss"] == 2.0
    pixels = 2 * 2 * 6  # iterations, samples, pixels of an object
    assert means["iou"] == pytest.approx((pixels + 1) / (2 * pixels + 1))
    assert means["sec_iou"] == 1.0


def test_report_starts_afresh():
    averages = Averages()
    averages.add({"p": torch.tensor(1.0)}, *reversed(batch(1)))
    averages.report()
    averages.add({"p": torch.tensor(5.0)}, *reversed(batch(1)))
    assert averages.report()["p"] == 5.0


def test_one_object_has_no_second_iou():
    averages = Averages()
    data, out = batch(1, num_objects=1)
    averages.add({"p": torch.tensor(1.0)}, out, data)
    assert "sec_iou" not in averages.report()


def test_state_goes_on_where_it_was():
    data, out = batch(1)
    whole, first, second = Averages(), Averages(), Averages()
    for value in (0.1, 0.2, 0.3):
        whole.add({"loss_1": torch.tensor(value)}, out, data)
    for value in (0.1, 0.2):
        first.add({"loss_1": torch.tensor(value)}, out, data)
    second.load_state_dict(first.state_dict())
    second.add({"loss_1": torch.tensor(0.3)}, out, data)
    assert second.report() == whole.report()


def test_lines_cut_nine_decimals_to_nine_characters():
    lines = list(progress_lines(1200, {"lr": 1e-5, "total_loss": 12.3456789999}))
    assert lines == [
        "It   1200 [TRAIN] [lr           ]: 0.0000100",
        "It   1200 [TRAIN] [total_loss   ]: 12.345679",
    ]


@pytest.mark.parametrize(("size", "objects", "columns"), [(1, 2, 5), (2, 1, 3), (12, 2, 5)])
def test_grid_of_pictures(size, objects, columns):
    data, out = batch(size, objects)
    grid = sample_grid(data, out)
    rows = 2 * min(size, MAX_ROWS)
    assert grid.dtype == np.uint8 and grid.shape == (rows * H, columns * W, 3)
    assert grid[0, 0].tolist() == [124, 116, 104]  # zero is the mean colour
    prediction, truth = grid[:H, W : 2 * W], grid[:H, (objects + 1) * W : (objects + 2) * W]
    assert prediction.max() == 255 and np.array_equal(prediction, truth)


def test_files_hold_the_documented_tags(train_config, tmp_path):
    accumulators = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    folder = RunFolder("Nov21_10.00.00_x", None, tmp_path, "x")
    config = train_config(batch_size=1, report_every=2, image_every=3, iterations=4)
    Trainer(config, DistInfo(), folder).run()
    run = tmp_path / folder.name
    events = accumulators.EventAccumulator(str(run)).Reload()
    scalars = ["lr", "time", "loss_1", "loss_2", "total_loss", "p", "iou", "sec_iou"]
    scalars += ["samples_per_s", "waiting"]
    tags = events.Tags()
    assert set(tags["scalars"]) == {f"train/{name}" for name in scalars}
    assert tags["images"] == ["train/pairs"]
    assert {tag.split("/")[0] for tag in tags["tensors"]} == {"git", "hyperpara"}
    assert [event.step for event in events.Scalars("train/total_loss")] == [2, 4]
    image = events.Images("train/pairs")[0]
    assert (image.step, image.width, image.height) == (3, 5 * 32, 2 * 32)
    records = read_jsonl(run / "x.jsonl")
    assert {r["name"] for r in records if r["kind"] == "text"} == {"git", "hyperpara"}
    assert [r["step"] for r in records if r["kind"] == "scalars"] == [2, 4]
    config_text = next(r["text"] for r in records if r.get("name") == "hyperpara")
    assert "batch_size: 1" in config_text
