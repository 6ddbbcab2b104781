from vidseg_common.feed_meter import FeedMeter


def test_speed_and_waiting():
    clock = [0.0]

    def load():
        for number in range(4):
            clock[0] += 1.0
            yield number

    meter = FeedMeter(lambda: clock[0])
    clock[0] = 50.0
    seen = []
    for batch in meter.watch(load(), samples=8):
        seen.append(batch)
        clock[0] += 3.0
        if batch == 1:
            assert str(meter.take()) == "2.0 samples/s, 25% waiting"
        if batch == 2:
            clock[0] += 4.0
    speed = meter.take()
    assert seen == [0, 1, 2, 3]
    assert (speed.samples, speed.waiting) == (16 / 12, 2 / 12)
    assert (meter.take().samples, meter.take().waiting) == (0, 0)
