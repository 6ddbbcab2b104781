# A small VATrack that learns two clips by heart, from random weights, in minutes on a CPU: shows
# that training, saving, finding and tracking work together (`make overfit-vatrack`).
_base_ = "./QDbasedVATrack_SAILVOScut.py"

width = 32
box_extractor = dict(out_channels=width)
box_head = dict(in_channels=width, fc_out_channels=128, loss_cls=dict(class_weight=None))
mask_head = dict(in_channels=width, conv_out_channels=width, num_convs=2)
model = dict(
    pretrained=None,
    backbone=dict(
        _delete_=True,
        type="ResNet",
        depth=50,
        base_channels=16,
        num_stages=4,
        out_indices=(0, 1, 2, 3),
        frozen_stages=-1,
        norm_cfg=dict(type="BN", requires_grad=True),
        norm_eval=False,
        style="pytorch",
    ),
    neck=dict(in_channels=[64, 128, 256, 512], out_channels=width),
    rpn_head=dict(in_channels=width, feat_channels=width),
    roi_head=dict(
        bbox_roi_extractor=box_extractor,
        bbox_head=box_head,
        mask_roi_extractor=box_extractor,
        mask_head=mask_head,
        amodal_mask_roi_extractor=box_extractor,
        amodal_mask_head=mask_head,
        track_roi_extractor=box_extractor,
        track_head=dict(
            num_convs=2,
            in_channels=width,
            conv_out_channels=width,
            fc_out_channels=128,
            embed_channels=32,
            norm_cfg=dict(type="GN", num_groups=8),
        ),
    ),
    train_cfg=dict(
        rpn_proposal=dict(nms_pre=200, max_num=100),
        rcnn=dict(sampler=dict(num=64)),
        embed=dict(sampler=dict(num=64)),
    ),
    test_cfg=dict(rpn=dict(nms_pre=200, max_num=100)),
)
load_from = None

scale = (192, 128)
img_norm_cfg = dict(mean=[123.675, 116.28, 103.53], std=[58.395, 57.12, 57.375], to_rgb=True)
train_pipeline = [
    dict(type="LoadMultiImagesFromFile"),
    dict(type="SeqLoadAnnotations", with_bbox=True, with_ins_id=True, with_mask=True),
    dict(type="SeqResize", img_scale=scale, keep_ratio=True),
    dict(type="SeqRandomFlip", share_params=True, flip_ratio=0.5),
    dict(type="SeqNormalize", **img_norm_cfg),
    dict(type="SeqPad", size_divisor=32),
]
test_pipeline = [
    dict(type="LoadImageFromFile"),
    dict(
        type="MultiScaleFlipAug",
        img_scale=scale,
        flip=False,
        transforms=[dict(type="Normalize", **img_norm_cfg), dict(type="Pad", size_divisor=32)],
    ),
]
data = dict(
    samples_per_gpu=4,
    workers_per_gpu=0,
    train=dict(pipeline=train_pipeline),
    val=dict(pipeline=test_pipeline),
    test=dict(pipeline=test_pipeline),
)
optimizer = dict(lr=0.01)
optimizer_config = dict(grad_clip=dict(max_norm=5.0))
lr_config = dict(step=[50, 57], warmup_iters=100, warmup_ratio=0.02)
total_epochs = 60
evaluation = dict(interval=20)
checkpoint_config = dict(interval=60)
log_config = dict(interval=8)
