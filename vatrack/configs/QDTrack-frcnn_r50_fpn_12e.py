# What all configurations share: QDTrack on Mask R-CNN with ResNet-50, 12 epochs.
# Files here are read, not run: plain values, dict(), and names assigned above.

# The 24 classes in the order of their labels, the background last.
class_weight = [0.1, 0.8, 12.5, 7.0, 15.5, 16.0, 9.5, 20.8, 0.9, 0.9, 3.5, 0.8, 1.5]
class_weight = class_weight + [17.8, 1.9, 3.4, 104.0, 4.4, 1.8, 1.4, 0.35, 0.8, 1.3, 3.3, 1.0]
box_extractor = dict(
    type="SingleRoIExtractor",
    roi_layer=dict(type="RoIAlign", output_size=7, sampling_ratio=0),
    out_channels=256,
    featmap_strides=[4, 8, 16, 32],
)
mask_extractor = dict(
    type="SingleRoIExtractor",
    roi_layer=dict(type="RoIAlign", output_size=14, sampling_ratio=0),
    out_channels=256,
    featmap_strides=[4, 8, 16, 32],
)
rpn_test = dict(nms_pre=1000, max_num=1000, nms_thr=0.7, min_bbox_size=1)

model = dict(
    type="QuasiDenseMaskRCNN",
    pretrained="torchvision://resnet50",
    backbone=dict(
        type="ResNet",
        depth=50,
        num_stages=4,
        out_indices=(0, 1, 2, 3),
        frozen_stages=1,
        norm_cfg=dict(type="BN", requires_grad=True),
        norm_eval=True,
        style="pytorch",
    ),
    neck=dict(type="FPN", in_channels=[256, 512, 1024, 2048], out_channels=256, num_outs=5),
    rpn_head=dict(
        type="RPNHead",
        in_channels=256,
        feat_channels=256,
        anchor_generator=dict(
            type="AnchorGenerator", scales=[8], ratios=[0.5, 1.0, 2.0], strides=[4, 8, 16, 32, 64]
        ),
        bbox_coder=dict(
            type="DeltaXYWHBBoxCoder",
            target_means=[0.0, 0.0, 0.0, 0.0],
            target_stds=[1.0, 1.0, 1.0, 1.0],
        ),
        loss_cls=dict(type="CrossEntropyLoss", use_sigmoid=True, loss_weight=1.0),
        loss_bbox=dict(type="SmoothL1Loss", beta=1.0 / 9.0, loss_weight=1.0),
    ),
    roi_head=dict(
        type="QuasiDenseSegRoIHead",
        bbox_roi_extractor=box_extractor,
        bbox_head=dict(
            type="Shared2FCBBoxHead",
            in_channels=256,
            fc_out_channels=1024,
            roi_feat_size=7,
            num_classes=24,
            bbox_coder=dict(
                type="DeltaXYWHBBoxCoder",
                target_means=[0.0, 0.0, 0.0, 0.0],
                target_stds=[0.1, 0.1, 0.2, 0.2],
            ),
            reg_class_agnostic=False,
            loss_cls=dict(
                type="CrossEntropyLoss",
                use_sigmoid=False,
                loss_weight=1.0,
                class_weight=class_weight,
            ),
            loss_bbox=dict(type="SmoothL1Loss", beta=1.0, loss_weight=1.0),
        ),
        mask_roi_extractor=mask_extractor,
        mask_head=dict(
            type="FCNMaskHeadPlus",
            num_convs=4,
            in_channels=256,
            conv_out_channels=256,
            num_classes=24,
            loss_mask=dict(type="CrossEntropyLoss", use_mask=True, loss_weight=1.0),
        ),
        track_roi_extractor=box_extractor,
        track_head=dict(
            type="QuasiDenseEmbedHead",
            num_convs=4,
            num_fcs=1,
            embed_channels=256,
            norm_cfg=dict(type="GN", num_groups=32),
            loss_track=dict(type="MultiPosCrossEntropyLoss", loss_weight=0.25),
            loss_track_aux=dict(
                type="L2Loss",
                neg_pos_ub=3,
                pos_margin=0,
                neg_margin=0.3,
                hard_mining=True,
                loss_weight=1.0,
            ),
        ),
    ),
    tracker=dict(
        type="QuasiDenseSegEmbedTracker",
        init_score_thr=0.01,
        obj_score_thr=0.01,
        match_score_thr=0.5,
        memo_tracklet_frames=32,
        memo_backdrop_frames=1,
        memo_momentum=0.8,
        nms_conf_thr=0.5,
        nms_backdrop_iou_thr=0.3,
        nms_class_iou_thr=0.7,
        with_cats=True,
        match_metric="bisoftmax",
    ),
    train_cfg=dict(
        rpn=dict(
            assigner=dict(
                type="MaxIoUAssigner",
                pos_iou_thr=0.7,
                neg_iou_thr=0.3,
                min_pos_iou=0.3,
                match_low_quality=True,
                ignore_iof_thr=-1,
            ),
            sampler=dict(
                type="RandomSampler",
                num=256,
                pos_fraction=0.5,
                neg_pos_ub=-1,
                add_gt_as_proposals=False,
            ),
            allowed_border=-1,
        ),
        rpn_proposal=dict(nms_pre=2000, max_num=1000, nms_thr=0.7, min_bbox_size=1),
        rcnn=dict(
            assigner=dict(
                type="MaxIoUAssigner",
                pos_iou_thr=0.5,
                neg_iou_thr=0.5,
                min_pos_iou=0.5,
                match_low_quality=False,
                ignore_iof_thr=-1,
            ),
            sampler=dict(
                type="RandomSampler",
                num=512,
                pos_fraction=0.25,
                neg_pos_ub=-1,
                add_gt_as_proposals=True,
            ),
            mask_size=28,
        ),
        embed=dict(
            assigner=dict(
                type="MaxIoUAssigner",
                pos_iou_thr=0.7,
                neg_iou_thr=0.3,
                min_pos_iou=0.5,
                match_low_quality=False,
                ignore_iof_thr=-1,
            ),
            sampler=dict(
                type="CombinedSampler",
                num=256,
                pos_fraction=0.5,
                neg_pos_ub=3,
                add_gt_as_proposals=True,
                pos_sampler=dict(type="InstanceBalancedPosSampler"),
                neg_sampler=dict(
                    type="IoUBalancedNegSampler", floor_thr=-1, floor_fraction=0, num_bins=3
                ),
            ),
        ),
    ),
    test_cfg=dict(
        rpn=rpn_test,
        rcnn=dict(
            score_thr=0.01,
            nms=dict(type="nms", iou_threshold=0.5),
            max_per_img=100,
            mask_thr_binary=0.5,
        ),
    ),
)

# `../data/` is the folder in the environment variable VATRACK_DATA where that is set.
data_root = "../data/"
img_norm_cfg = dict(mean=[123.675, 116.28, 103.53], std=[58.395, 57.12, 57.375], to_rgb=True)
train_pipeline = [
    dict(type="LoadMultiImagesFromFile"),
    dict(type="SeqLoadAnnotations", with_bbox=True, with_ins_id=True, with_mask=True),
    dict(type="SeqResize", img_scale=(1280, 800), keep_ratio=True),
    dict(type="SeqRandomFlip", share_params=True, flip_ratio=0.5),
    dict(type="SeqNormalize", **img_norm_cfg),
    dict(type="SeqPad", size_divisor=32),
    dict(type="SeqDefaultFormatBundle"),
    dict(
        type="SeqCollect",
        keys=["img", "gt_bboxes", "gt_labels", "gt_match_indices", "gt_masks"],
        ref_prefix="ref",
    ),
]
test_pipeline = [
    dict(type="LoadImageFromFile"),
    dict(
        type="MultiScaleFlipAug",
        img_scale=(1280, 800),
        flip=False,
        transforms=[
            dict(type="Resize", keep_ratio=True),
            dict(type="RandomFlip"),
            dict(type="Normalize", **img_norm_cfg),
            dict(type="Pad", size_divisor=32),
            dict(type="ImageToTensor", keys=["img"]),
            dict(type="VideoCollect", keys=["img"]),
        ],
    ),
]
valid = dict(
    type="SAILVOSVideoDatasetNoJoint",
    kind="visible",
    ann_file=data_root + "sailvos_cut_json/visible/valid.json",
    img_prefix=data_root + "sailvos_cut_png/",
    pipeline=test_pipeline,
    test_mode=True,
)
data = dict(
    samples_per_gpu=8,
    workers_per_gpu=8,
    train=dict(
        type="SAILVOSVideoDatasetNoJoint",
        kind="visible",
        ann_file=data_root + "sailvos_cut_json/visible/train.json",
        img_prefix=data_root + "sailvos_cut_png/",
        key_img_sampler=dict(interval=1),
        ref_img_sampler=dict(num_ref_imgs=1, scope=3, method="uniform"),
        pipeline=train_pipeline,
    ),
    val=valid,
    test=valid,
)

optimizer = dict(type="SGD", lr=0.005, momentum=0.9, weight_decay=0.0001)
optimizer_config = dict(grad_clip=None)
lr_config = dict(
    policy="step", warmup="linear", warmup_iters=2000, warmup_ratio=1.0 / 2000, step=[8, 11]
)
checkpoint_config = dict(interval=1)
log_config = dict(interval=50, hooks=[dict(type="TextLoggerHook")])
evaluation = dict(metric=["bbox", "segm", "track", "segtrack"], interval=1)
total_epochs = 12
dist_params = dict(backend="nccl")
log_level = "INFO"
load_from = None
resume_from = None
workflow = [("train", 1)]
gpu_ids = [0]
