# The published backbone, with the batch, learning rate and start that go with it.
_base_ = "./QDTrack-frcnn_r50_fpn_12e.py"

model = dict(
    pretrained=None,
    backbone=dict(type="ResNeXt", depth=101, groups=64, base_width=4),
)
data = dict(samples_per_gpu=4, workers_per_gpu=4)
optimizer = dict(lr=0.0025)
load_from = "../data/ckpts/resnext101_64_4d.pth"
