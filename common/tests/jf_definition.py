"""J and F written straight from their definition, for tests: slow and obviously right."""

import math


def slow_statistics(values):
    """Mean, recall and decay written straight from the definition."""
    count = len(values)
    borders = [round(1 + (count - 1) * k / 4 + 1e-10) - 1 for k in range(5)]
    first, last = values[: borders[1] + 1], values[borders[3] : borders[4] + 1]
    return (
        sum(values) / count,
        sum(value > 0.5 for value in values) / count,
        sum(first) / len(first) - sum(last) / len(last),
    )


def slow_jf(gt, pred):
    """J and F of two bool masks from the definition, pixel by pixel."""
    height, width = gt.shape
    radius = math.ceil(0.008 * math.sqrt(height**2 + width**2))

    def edge(mask):
        found = set()
        for y in range(height):
            for x in range(width):
                near = [(y, x + 1), (y + 1, x), (y + 1, x + 1)]
                if y == height - 1:
                    near = [(y, x + 1)]
                elif x == width - 1:
                    near = [(y + 1, x)]
                near = [(b, a) for b, a in near if b < height and a < width]
                if any(mask[b, a] != mask[y, x] for b, a in near):
                    found.add((y, x))
        return found

    def share(some, others):
        close = [any((y - b) ** 2 + (x - a) ** 2 <= radius**2 for b, a in others) for y, x in some]
        return sum(close) / len(close)

    union, gt_edge, pred_edge = (gt | pred).sum(), edge(gt), edge(pred)
    j = (gt & pred).sum() / union if union else 1.0
    if not gt_edge or not pred_edge:
        return j, float(len(gt_edge) == len(pred_edge))
    precision, recall = share(pred_edge, gt_edge), share(gt_edge, pred_edge)
    total = precision + recall
    return j, 2 * precision * recall / total if total else 0.0
