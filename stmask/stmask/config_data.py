"""The named values of spec section 2: data sets, backbones and the two base configurations.

A value of another name than a key's is a mapping again. Nothing here is looked up directly; see
`stmask.config`.
"""

from __future__ import annotations

from typing import Any

from stmask.config_classes import OVIS, YOUTUBE_VIS_2019, YOUTUBE_VIS_2021

Values = dict[str, Any]

COLORS = (
    *((244, 67, 54), (233, 30, 99), (156, 39, 176), (103, 58, 183), (63, 81, 181)),
    *((33, 150, 243), (3, 169, 244), (0, 188, 212), (0, 150, 136), (76, 175, 80)),
    *((139, 195, 74), (205, 220, 57), (255, 235, 59), (255, 193, 7), (255, 152, 0)),
    *((255, 87, 34), (121, 85, 72), (158, 158, 158), (96, 125, 139)),
)

DATASET_BASE: Values = {
    "type": "YTVOSDataset",
    "ann_file": "path_to_annotation_file",
    "img_prefix": "path_to_images_file",
    "img_scale": [[640, 360]],
    "img_norm_cfg": {
        "mean": [123.675, 116.28, 103.53],
        "std": [58.395, 57.12, 57.375],
        "to_rgb": True,
    },
    "size_divisor": 32,
    "flip_ratio": 0.5,
    "resize_keep_ratio": False,
    "with_mask": True,
    "with_crowd": True,
    "with_label": True,
    "with_track": True,
    "proposal_file": None,
    "extra_aug": None,
    "clip_frames": 1,
    "test_mode": False,
}

#: Role to (annotation file, folder of frames) below the root of the data sets.
FILES: dict[str, dict[str, tuple[str, str]]] = {
    "YouTube_VOS": {
        role: (
            f"YouTube_VOS2019/annotations_instances/{role}.json",
            f"YouTube_VOS2019/{folder}/JPEGImages",
        )
        for role, folder in (
            *(("train", "train"), ("valid_sub", "train")),
            *(("valid", "valid"), ("test", "test")),
        )
    },
    "YouTube_VOS2021": {
        "train": ("YouTube_VOS2021/train/instances.json", "YouTube_VOS2021/train/JPEGImages"),
        "valid_sub": (
            "YouTube_VOS2021/annotations_instances/valid_sub.json",
            "YouTube_VOS2021/train/JPEGImages",
        ),
        "valid": ("YouTube_VOS2021/valid/instances.json", "YouTube_VOS2021/valid/JPEGImages"),
        "test": ("YouTube_VOS2021/test/instances.json", "YouTube_VOS2021/test/JPEGImages"),
    },
    "OVIS": {
        "train": ("OVIS/annotations_train.json", "OVIS/train"),
        "valid_sub": ("OVIS/annotations_valid_sub.json", "OVIS/train"),
        "valid": ("OVIS/annotations_valid.json", "OVIS/valid"),
        "test": ("OVIS/annotations_test.json", "OVIS/test"),
    },
}
#: Roles without annotations that are read. The original leaves this out for two of the test sets.
TEST_MODE = ("valid", "test")

BACKBONE_BASE: Values = {
    "name": "Base Backbone",
    "path": "path/to/pretrained/weights",
    "type": "object",
    "args": [],
    "transform": {
        "channel_order": "RGB",
        "normalize": True,
        "subtract_means": False,
        "to_float": False,
    },
    "selected_layers": [],
    "pred_scales": [],
    "pred_aspect_ratios": [],
    "use_pixel_scales": False,
    "preapply_sqrt": True,
    "use_square_anchors": False,
}
_RATIOS = [0.66685089, 1.7073535, 0.87508774, 1.16524493, 0.49059086]
_OF_RESNETS: Values = {
    "selected_layers": [2, 3, 4, 5, 6, 7],
    "pred_scales": [[1]] * 6,
    "pred_aspect_ratios": [[_RATIOS]] * 6,
}
_R101, _R50 = [3, 4, 23, 3], [3, 4, 6, 3]
_DCN_R101, _DCN_R50 = [_R101, [0, 4, 23, 3], 3], [_R50, [0, 4, 6, 3], 2]
_ROOT2, _ROOT3 = 2**0.5, 3**0.5
_THREE = [1, _ROOT2, 1 / _ROOT2]
_FIVE = [*_THREE, _ROOT3, 1 / _ROOT3]


def _resnet(name: str, path: str, args: list[Any], kind: str = "ResNetBackbone") -> Values:
    return {"name": name, "path": path, "type": kind, "args": args, **_OF_RESNETS}


_PLAIN_TRANSFORM = {**BACKBONE_BASE["transform"], "normalize": False}

#: What each backbone has in place of BACKBONE_BASE.
BACKBONES: dict[str, Values] = {
    "resnet101_backbone": _resnet("ResNet101", "yolact_base_54_800000.pth", [_R101]),
    "resnet101_gn_backbone": _resnet("ResNet101_GN", "R-101-GN.pkl", [_R101], "ResNetBackboneGN"),
    "resnet101_dcn_inter3_backbone": _resnet(
        "ResNet101_DCN_Interval3", "yolact_plus_base_54_800000.pth", _DCN_R101
    ),
    "resnet101_gn_dcn_inter3_backbone": _resnet(
        "ResNet101_GN_DCN_Interval3", "R-101-GN.pkl", _DCN_R101, "ResNetBackboneGN"
    ),
    "resnet50_backbone": _resnet("ResNet50", "yolact_resnet50_54_800000.pth", [_R50]),
    "resnet50_dcn_inter3_backbone": _resnet(
        "ResNet50_DCN_Interval3", "yolact_plus_resnet50_54_800000.pth", _DCN_R50
    ),
    "darknet53_backbone": {
        "name": "DarkNet53",
        "path": "darknet53.pth",
        "type": "DarkNetBackbone",
        "args": [[1, 2, 8, 8, 4]],
        "transform": {**_PLAIN_TRANSFORM, "to_float": True},
        "selected_layers": [3, 4, 5, 6, 7, 8],
        "pred_scales": [[3.5, 4.95], [3.6, 4.9], [3.3, 4.02], [2.7, 3.1], [2.1, 2.37], [1.8, 1.92]],
        "pred_aspect_ratios": [[_FIVE if 0 < i < 4 else _THREE, [1]] for i in range(6)],
    },
    "vgg16_backbone": {
        "name": "VGG16",
        "path": "vgg16_reducedfc.pth",
        "type": "VGGBackbone",
        "args": [
            [
                [64, 64],
                ["M", 128, 128],
                ["M", 256, 256, 256],
                [["M", {"kernel_size": 2, "stride": 2, "ceil_mode": True}], 512, 512, 512],
                ["M", 512, 512, 512],
                [
                    ["M", {"kernel_size": 3, "stride": 1, "padding": 1}],
                    [1024, {"kernel_size": 3, "padding": 6, "dilation": 6}],
                    [1024, {"kernel_size": 1}],
                ],
            ],
            [[256, 2], [128, 2], [128, 1], [128, 1]],
            [3],
        ],
        "transform": {**_PLAIN_TRANSFORM, "subtract_means": True},
        "selected_layers": [3, 5, 6, 7, 8, 9],
        "pred_scales": [[5, 4]] * 6,
        "pred_aspect_ratios": [[[1], _FIVE if 0 < i < 4 else _THREE] for i in range(6)],
    },
}

FPN_BASE: Values = {
    "num_features": 256,
    "interpolation_mode": "bilinear",
    "num_downsample": 1,
    "use_conv_downsample": False,
    "pad": True,
    "relu_downsample_layers": False,
    "relu_pred_layers": True,
}

#: The one complete configuration; every other one names what it changes.
YOUTUBE_VOS_BASE: Values = {
    "num_classes": 41, "num_classes_c4": 16, "classes": list(YOUTUBE_VIS_2019), "COLORS": COLORS,
    "max_iter": 600000, "max_num_detections": 100,
    "lr": 1e-3, "momentum": 0.9, "decay": 1e-4, "gamma": 0.1,
    "lr_steps": [280000, 360000, 400000], "lr_warmup_init": 1e-4, "lr_warmup_until": 500,
    "conf_alpha": 1, "bbox_alpha": 1.5, "track_alpha": 10, "mask_alpha": 30.625,
    "eval_mask_branch": True, "embed_dim": 512,
    "nms_top_k": 200, "nms_conf_thresh": 0.3, "nms_thresh": 0.5, "eval_conf_thresh": 0.3,
    "mask_type": 0, "mask_size": 16, "masks_to_train": 100, "mask_dim": None,
    "mask_proto_src": None, "mask_proto_net": [[256, 3, {}], [256, 3, {}]],
    "mask_proto_bias": False, "mask_proto_prototype_activation": "relu",
    "mask_proto_mask_activation": "sigmoid", "mask_proto_coeff_activation": "tanh",
    "mask_proto_crop": False, "mask_proto_crop_expand": 0, "mask_proto_loss": None,
    "mask_proto_binarize_downsampled_gt": True, "mask_proto_grid_file": "data/grid.npy",
    "mask_proto_use_grid": False, "mask_proto_remove_empty_masks": False,
    "mask_proto_reweight_coeff": 1, "mask_proto_coeff_diversity_loss": False,
    "mask_proto_coeff_diversity_alpha": 1, "mask_proto_normalize_emulate_roi_pooling": False,
    "mask_proto_double_loss": False, "mask_proto_double_loss_alpha": 1,
    "mask_proto_crop_with_pred_box": False,
    "augment_photometric_distort": True, "augment_expand": True,
    "augment_random_sample_crop": True, "augment_random_mirror": True,
    "augment_random_flip": False, "augment_random_rot90": False,
    "discard_box_width": 4 / 550, "discard_box_height": 4 / 550,
    "freeze_bn": False, "fpn": None, "share_prediction_module": False,
    "ohem_use_most_confident": False, "use_sigmoid_focal_loss": False,
    "focal_loss_alpha": 0.25, "focal_loss_gamma": 2, "focal_loss_init_pi": 0.01,
    "use_class_balanced_conf": False, "use_class_existence_loss": False,
    "class_existence_alpha": 1, "use_semantic_segmentation_loss": False,
    "semantic_segmentation_alpha": 1, "use_mask_scoring": False, "mask_scoring_alpha": 1,
    "use_change_matching": False, "extra_head_net": None,
    "head_layer_params": {i: {"kernel_size": [3, 3], "padding": 1} for i in range(3)},
    "extra_layers": [0, 0, 0, 0],
    "positive_iou_threshold": 0.5, "negative_iou_threshold": 0.5, "ohem_negpos_ratio": 3,
    "crowd_iou_threshold": 1, "force_cpu_nms": True, "use_coeff_nms": False,
    "train_masks": True, "train_boxes": True, "train_track": True, "train_class": True,
    "use_gt_bboxes": False, "preserve_aspect_ratio": False, "use_yolo_regressors": False,
    "use_prediction_matching": False, "delayed_settings": [], "no_jit": False,
    "backbone": None, "name": "base_config", "use_maskiou": False, "maskiou_net": [],
    "discard_mask_area": -1, "rescore_mask": False, "rescore_bbox": False,
    "maskious_to_train": -1, "train_output_visualization": True, "mask_output_json": "polygon",
}  # fmt: skip

#: What the base of every STMask changes or adds.
STMASK_BASE: Values = {
    "max_iter": 250000, "lr_steps": [150000, 200000],
    "conf_alpha": 6.125, "track_alpha": 5, "mask_alpha": 6.125, "embed_dim": 128,
    "nms_conf_thresh": 0.05, "eval_conf_thresh": 0.05, "mask_type": 1, "mask_proto_src": 0,
    "mask_proto_net": [
        *[[256, 3, {"padding": 1}]] * 3, [None, -2, {}], [256, 3, {"padding": 1}], [32, 1, {}],
    ],
    "mask_proto_crop": True, "mask_proto_coeff_diversity_alpha": 5,
    "mask_proto_crop_with_pred_box": True,
    "share_prediction_module": True, "extra_head_net": [[256, 3, {"padding": 1}]],
    "head_layer_params": {
        0: {"kernel_size": [3, 3], "padding": [1, 1]},
        1: {"kernel_size": [3, 5], "padding": [1, 2]},
        2: {"kernel_size": [5, 3], "padding": [2, 1]},
    },
    "extra_layers": [2, 2, 2, 2], "negative_iou_threshold": 0.4, "crowd_iou_threshold": 0.7,
    "name": "yolact_JDT_base", "discard_mask_area": 25,
    "BIoU_alpha": 5, "bboxiou_alpha": 5, "maskiou_alpha": 5, "center_alpha": 20,
    "mask_proto_n": 32, "backbone_C2_as_features": False, "display_protos": False,
    "train_centerness": True, "match_coeff": [0, 1, 2, 0], "temporal_fusion_module": True,
    "correlation_patch_size": 11, "correlation_selected_layer": 1,
    "boxshift_alpha": 5, "maskshift_alpha": 6.125, "maskshift_loss": True,
    "use_pred_offset": False, "use_dcn_class": False, "use_dcn_track": False,
    "use_dcn_mask": False, "use_sipmask": False, "sipmask_head": 4,
    "use_conf_cross_frames": False, "use_boxiou_loss": True, "use_maskiou_loss": False,
    "candidate_conf_thresh": 0.05, "nms_as_miou": False, "remove_false_inst": True,
    "add_missed_masks": False, "use_train_sub": False, "use_valid_sub": False,
    "only_calc_metrics": False, "only_count_classes": False, "display_corr": False,
    "display_mask_single": False, "eval_single_im": False,
}  # fmt: skip

#: Keys of this implementation, for what the original selects by editing its code.
ADDED: Values = {
    "conf_weight_order": "reference",  # or "aligned": see the loss of the classes (spec 10.2)
    "network_sizes": {},  # fields of NetworkSettings, for smaller networks than the released ones
    "cross_class_nms": True,  # False: the numbers that the authors call mAP* (spec 6.3)
}

#: Anchors of every STMask: one scale a level, one shape a kernel.
STMASK_ANCHORS: Values = {
    "pred_scales": [[float(24 * 2**level)] for level in range(5)],
    "pred_aspect_ratios": [[[[3, 3], [3, 5], [5, 3]]]] * 5,
}

CLASS_NAMES = {
    "YouTube_VOS": YOUTUBE_VIS_2019,
    "YouTube_VOS2021": YOUTUBE_VIS_2021,
    "OVIS": OVIS,
}
