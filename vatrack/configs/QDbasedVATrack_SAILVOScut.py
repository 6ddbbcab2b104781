# VATrack: amodal boxes, visible and amodal masks from the same region.
_base_ = "./QDTrack-frcnn_x101_fpn_12e.py"

model = dict(
    type="JointMaskQuasiDenseMaskRCNN",
    roi_head=dict(
        type="JointMaskQuasiDenseRoIHead",
        amodal_mask_roi_extractor=dict(
            type="SingleRoIExtractor",
            roi_layer=dict(type="RoIAlign", output_size=14, sampling_ratio=0),
            out_channels=256,
            featmap_strides=[4, 8, 16, 32],
        ),
        amodal_mask_head=dict(
            type="JointFCNMaskHeadPlus",
            num_convs=4,
            in_channels=256,
            conv_out_channels=256,
            num_classes=24,
            loss_mask=dict(type="CrossEntropyLoss", use_mask=True, loss_weight=1.0),
        ),
    ),
    tracker=dict(type="JointMaskQuasiDenseSegEmbedTracker"),
)
lr_config = dict(warmup_iters=6000, warmup_ratio=1.0 / 6000)

data_root = "../data/"
data = dict(
    train=dict(
        type="SAILVOSVideoDataset",
        kind="joint",
        ann_file=data_root + "sailvos_cut_json/joint/train(bbox=amdl_bbox).json",
        img_prefix=data_root + "sailvos_cut_png/",
    ),
    val=dict(
        type="SAILVOSVideoDataset",
        kind="joint",
        ann_file=data_root + "sailvos_cut_json/joint/valid(bbox=amdl_bbox).json",
        img_prefix=data_root + "sailvos_cut_png/",
    ),
    test=dict(
        type="SAILVOSVideoDataset",
        kind="joint",
        ann_file=data_root + "sailvos_cut_json/joint/valid(bbox=amdl_bbox).json",
        img_prefix=data_root + "sailvos_cut_png/",
    ),
)
