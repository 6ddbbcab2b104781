"""Shards: the split, the flags, the plan of a shard, own videos in shards."""

import argparse
import json
from collections.abc import Iterator

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vidseg_common.datasets.json_write import write_list
from vidseg_common.errors import UserError, VideoError
from vidseg_common.own_videos import add_video_flags, find_videos, num_frames, predict_each
from vidseg_common.sharding import (
    PLAN_FILE,
    Sharding,
    Shards,
    merged_entries,
    sharding_of,
    split,
    take_file,
)
from vidseg_common.video import write_image

LENGTHS = st.dictionaries(st.text(max_size=3), st.integers(0, 300), max_size=30)
VIDEOS = {"ant": 5, "bee": 3, "cat": 9, "dog": 1}


class TestSplit:
    @given(LENGTHS, st.integers(1, 9))
    def test_every_sequence_is_in_one_shard(self, lengths, count):
        shards = split(lengths, count)
        assert len(shards) == count
        assert sorted(name for shard in shards for name in shard) == sorted(lengths)
        order = list(lengths)
        assert all(shard == sorted(shard, key=order.index) for shard in shards)

    @given(LENGTHS, st.integers(1, 9))
    def test_shards_are_even_within_the_longest_sequence(self, lengths, count):
        loads = [sum(lengths[name] for name in shard) for shard in split(lengths, count)]
        assert max(loads) - min(loads) <= max(lengths.values(), default=0)

    @given(LENGTHS, st.integers(1, 9), st.randoms())
    def test_the_order_of_the_data_does_not_matter(self, lengths, count, rng):
        mixed = list(lengths)
        rng.shuffle(mixed)
        again = split({name: lengths[name] for name in mixed}, count)
        assert list(map(sorted, again)) == list(map(sorted, split(lengths, count)))

    @given(st.integers(1, 40), st.integers(1, 9), st.integers(0, 1))
    def test_equal_lengths_give_equal_numbers(self, num, count, length):
        sizes = list(map(len, split({f"{i}": length for i in range(num)}, count)))
        assert max(sizes) - min(sizes) <= 1

    def test_example(self):
        assert split(VIDEOS, 2) == [["cat"], ["ant", "bee", "dog"]]
        assert split({}, 2) == [[], []]


def flags(count=None, index=None, merge=False):
    return argparse.Namespace(num_shards=count, shard=index, merge=merge)


class TestFlags:
    def test_what_they_ask_for(self):
        assert sharding_of(flags()) is None
        assert sharding_of(flags(4, 3)) == Sharding(4, 3)
        assert sharding_of(flags(4, merge=True)) == Sharding(4, None)

    @pytest.mark.parametrize(
        ("given", "message"),
        [
            (flags(4, 4), "--shard 4: expected 0 to 3, as --num-shards is 4"),
            (flags(4, -1), "--shard -1: expected 0 to 3"),
            (flags(4), "--num-shards 4: expected either --shard I or --merge"),
            (flags(4, 1, True), "--num-shards 4: expected either --shard I or --merge"),
            (flags(None, 1), "--shard and --merge need --num-shards N"),
            (flags(None, None, True), "--shard and --merge need --num-shards N"),
        ],
    )
    def test_what_does_not_fit(self, given, message):
        with pytest.raises(UserError, match=message):
            sharding_of(given)


@pytest.fixture
def make(tmp_path):
    def shards(index=None, count=2, lengths=VIDEOS, **settings):
        return Shards(
            Sharding(count, index),
            tmp_path / "out",
            method="m",
            data="d",
            lengths=lengths,
            settings={"size": (4, 5), **settings},
        )

    return shards


def run(shards) -> bool:
    """Whether there was something to do."""
    with shards.run() as folder:
        return folder is not None


class TestShards:
    def test_finished_shards_are_found(self, make, tmp_path):
        for index in range(2):
            with make(index).run() as folder:
                assert folder == tmp_path / f"out_shards/{index}-of-2"
                assert make(index).target(folder) == folder / "results/out"
        parts = make().finished()
        assert [names for _, _, names in parts] == [["cat"], ["ant", "bee", "dog"]]
        assert [(i, path.name) for i, path, _ in parts] == [(0, "0-of-2"), (1, "1-of-2")]

    def test_every_fault_is_told_with_what_to_run(self, make, tmp_path):
        count = 5
        for index in (0, 1, 2):
            assert run(make(index, count))
        with pytest.raises(KeyboardInterrupt), make(3, count).run():
            raise KeyboardInterrupt
        folder = tmp_path / "out_shards"
        (folder / "1-of-5" / PLAN_FILE).write_bytes((folder / "0-of-5" / PLAN_FILE).read_bytes())
        (folder / "2-of-5" / PLAN_FILE).write_text("{")
        with pytest.raises(UserError) as caught:
            make(None, count).finished()
        title, *lines = str(caught.value).splitlines()
        assert title == "4 of 5 shards cannot be put together:"
        assert [line.split(": ")[0] for line in lines] == [f"  - shard {i}" for i in (1, 2, 3, 4)]
        assert "is of another run (shard was 0, now 1; its sequences are others)" in lines[0]
        assert "is damaged" in lines[1]
        assert lines[2].endswith("is not finished; run it with --num-shards 5 --shard 3")
        assert "is missing" in lines[3] and lines[3].endswith("--shard 4")

    def test_other_settings_and_sequences_are_another_run(self, make):
        assert all(run(make(index)) for index in range(2))
        with pytest.raises(UserError, match=r"settings\.top was not given, now 3"):
            make(top=3).finished()
        with pytest.raises(UserError, match=r"2 of 2 .*\n.*shard 0.*its sequences are others"):
            make(lengths={"ant": 5, "bee": 7}).finished()
        with pytest.raises(UserError, match=r"is of another run .*; remove .*0-of-2"):
            run(make(0, top=3))

    def test_a_finished_shard_is_not_run_again(self, make, capsys):
        assert run(make(0))
        capsys.readouterr()
        assert not run(make(0))
        assert "shard 0 of 2 is finished; remove" in capsys.readouterr().out

    def test_a_shard_without_sequences_is_finished_at_once(self, make):
        assert [run(make(i, 3, {"a": 1, "b": 1})) for i in range(3)] == [True, True, False]
        assert make(None, 3, {"a": 1, "b": 1}).finished()[2][2] == []

    def test_a_batch_stays_together(self, tmp_path):
        shards = Shards(
            Sharding(2, 1),
            tmp_path / "out",
            method="m",
            data="d",
            lengths=dict.fromkeys("abcde", 1),
            settings={},
            batch=2,
        )
        assert shards.names() == ["c", "d"]
        assert shards.order == list("abcde")

    def test_files_that_are_missing_name_the_shard(self, make):
        message = str(make().fault(1, "there is no x.png"))
        assert message.startswith("shard 1: there is no x.png; remove ")
        assert message.endswith("1-of-2 and run it again with --num-shards 2 --shard 1")

    def test_lists_are_merged_in_the_order_of_the_data(self, make):
        def entries(names):
            return [{"video": name, "n": n} for name in names for n in range(len(name) - 2)]

        def merged():
            return list(merged_entries(make(), "video", lambda folder: folder / "r.json"))

        for index in range(2):
            with make(index).run() as folder:
                names = [name for name in make(index).names() if name != "bee"]
                write_list(folder / "r.json", entries(names))
        assert merged() == entries(["ant", "cat", "dog"])
        write_list(folder / "r.json", entries(["dog", "ant"]))
        with pytest.raises(UserError, match="shard 1: video ant stands in its results"):
            merged()
        (folder / "r.json").unlink()
        with pytest.raises(UserError, match=r"shard 1: there is no .*r\.json"):
            merged()

    def test_a_file_is_taken(self, tmp_path):
        (tmp_path / "a").write_text("x")
        take_file(tmp_path / "a", tmp_path / "deep/b")
        assert (tmp_path / "deep/b").read_text() == "x"


@pytest.fixture
def clips(tmp_path):
    """Folders of frames: one, two, three frames."""
    for name, length in (("one", 1), ("two", 2), ("three", 3)):
        for t in range(length):
            write_image(tmp_path / "clips" / name / f"{t}.png", np.zeros((8, 8, 3), np.uint8))
    return tmp_path / "clips"


class TestOwnVideos:
    def test_one_or_many(self, clips, tmp_path):
        out = tmp_path / "out"
        assert [(v.name, v.output) for v in find_videos([clips / "two"], out)] == [("two", out)]
        (clips / "film.mp4").touch()
        (clips / "notes.txt").touch()
        found = find_videos([clips], out)
        assert [v.name for v in found] == ["film", "one", "three", "two"]
        assert found[0].output == out / "film"
        assert num_frames(clips / "three") == 3
        with pytest.raises(VideoError, match="two videos named two"):
            find_videos([clips, clips / "two"], out)
        (tmp_path / "none").mkdir()
        with pytest.raises(VideoError, match="holds neither images nor videos"):
            find_videos([tmp_path / "none"], out)

    def predict(self, clips, tmp_path, *words, broken=()) -> Iterator[str]:
        parser = argparse.ArgumentParser()
        add_video_flags(parser)
        args = parser.parse_args([str(clips), "-o", str(tmp_path / "out"), *map(str, words)])
        done = []

        def one(video):
            if video.name in broken:
                raise VideoError(f"{video.name} is broken")
            video.output.mkdir(parents=True, exist_ok=True)
            (video.output / "result.json").write_text("{}")
            done.append(video.name)

        try:
            predict_each(args, one, method="m", facts={"weights": 1})
        finally:
            self.done = done

    def test_shards_merge_and_one_is_run_again(self, clips, tmp_path):
        self.predict(clips, tmp_path, "--num-shards", 2, "--shard", 0)
        assert self.done == ["three"]
        with pytest.raises(UserError, match=r"1 of 2 videos.*\n.*one is broken"):
            self.predict(clips, tmp_path, "--num-shards", 2, "--shard", 1, broken=["one"])
        assert self.done == ["two"]
        with pytest.raises(UserError, match="shard 1: is not finished"):
            self.predict(clips, tmp_path, "--num-shards", 2, "--merge")
        self.predict(clips, tmp_path, "--num-shards", 2, "--shard", 1)
        assert self.done == ["one"]
        self.predict(clips, tmp_path, "--num-shards", 2, "--merge")
        index = (tmp_path / "out/videos.json").read_text()
        (tmp_path / "out/two/result.json").unlink()
        with pytest.raises(UserError, match=r"shard 1: there is no .*two.result\.json"):
            self.predict(clips, tmp_path, "--num-shards", 2, "--merge")
        self.predict(clips, tmp_path)
        assert self.done == ["one", "three", "two"]
        assert (tmp_path / "out/videos.json").read_text() == index
        assert [v["name"] for v in json.loads(index)["videos"]] == self.done
