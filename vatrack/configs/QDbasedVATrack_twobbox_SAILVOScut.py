# VATrack with two boxes: each kind of mask from its own kind of box.
_base_ = "./QDbasedVATrack_SAILVOScut.py"

# The 24 classes in the order of their labels, the background last.
class_weight = [0.1, 0.8, 12.5, 7.0, 15.5, 16.0, 9.5, 20.8, 0.9, 0.9, 3.5, 0.8, 1.5]
class_weight = class_weight + [17.8, 1.9, 3.4, 104.0, 4.4, 1.8, 1.4, 0.35, 0.8, 1.3, 3.3, 1.0]

model = dict(
    type="JointBBoxMaskQuasiDenseMaskRCNN",
    roi_head=dict(
        type="JointBBoxMaskQuasiDenseRoIHead",
        amodal_bbox_roi_extractor=dict(
            type="SingleRoIExtractor",
            roi_layer=dict(type="RoIAlign", output_size=7, sampling_ratio=0),
            out_channels=256,
            featmap_strides=[4, 8, 16, 32],
        ),
        amodal_bbox_head=dict(
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
    ),
    tracker=dict(type="JointBBoxMaskQuasiDenseSegEmbedTracker"),
)

data_root = "../data/"
data = dict(
    train=dict(
        ann_file=data_root + "sailvos_cut_json/joint/train(bbox=both_bbox).json",
        img_prefix=data_root + "sailvos_cut_png/",
    ),
    val=dict(
        ann_file=data_root + "sailvos_cut_json/joint/valid(bbox=both_bbox).json",
        img_prefix=data_root + "sailvos_cut_png/",
    ),
    test=dict(
        ann_file=data_root + "sailvos_cut_json/joint/valid(bbox=both_bbox).json",
        img_prefix=data_root + "sailvos_cut_png/",
    ),
)
