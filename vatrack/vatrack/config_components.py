"""What a configuration may say: components by their registered names, their keys and values.

A key is followed by its kind of value:
- "int", "number", "bool", "text", "ints", "numbers", "texts", "any"; with "?" also None;
- a tuple lists the only values that are possible;
- "@slot": a mapping whose `type` is a name of that slot; "[@slot]": one of those or a list;
- "#section": a mapping without `type`; with "?" also None.

Names and keys are those of the ecosystem that the published configurations come from; keys that
have no effect here (or had none there) are accepted and marked "any". Sources: spec 1, 4.5, 4.6,
5 and 8.
"""

from __future__ import annotations

from typing import Any

Rule = Any  # text or a tuple of values
Keys = dict[str, Rule]

_LOSS: Keys = {"loss_weight": "number", "reduction": ("mean",)}
_NORM: Keys = {"requires_grad": "bool"}
_CODER: Keys = {"target_means": "numbers", "target_stds": "numbers", "clip_border": (True,)}
_BOX_HEAD: Keys = {
    "in_channels": "int",
    "conv_out_channels": "int",
    "fc_out_channels": "int",
    "roi_feat_size": "int",
    "num_classes": "int",
    "bbox_coder": "@coder",
    "reg_class_agnostic": (False,),
    "loss_cls": "@class_loss",
    "loss_bbox": "@box_loss",
}
_MASK_HEAD: Keys = {
    "num_convs": "int",
    "in_channels": "int",
    "conv_out_channels": "int",
    "roi_feat_size": "int",
    "num_classes": "int",
    "class_agnostic": (False,),
    "loss_mask": "@mask_loss",
}
_BACKBONE: Keys = {
    "depth": (50, 101, 152),
    "num_stages": (4,),
    "base_channels": "int",
    "out_indices": ((0, 1, 2, 3), [0, 1, 2, 3]),
    "frozen_stages": "int",
    "norm_cfg": "@norm",
    "norm_eval": "bool",
    "style": ("pytorch",),
}
_ROI_HEAD: Keys = {
    "bbox_roi_extractor": "@roi_extractor",
    "bbox_head": "@box_head",
    "mask_roi_extractor": "@roi_extractor",
    "mask_head": "@mask_head",
    "track_roi_extractor": "@roi_extractor",
    "track_head": "@track_head",
    "finetune_track": (False,),
}
_AMODAL_MASK: Keys = {
    "amodal_mask_roi_extractor": "@roi_extractor",
    "amodal_mask_head": "@amodal_mask_head",
}
_AMODAL_BOX: Keys = {
    "amodal_bbox_roi_extractor": "@roi_extractor",
    "amodal_bbox_head": "@box_head",
}
_DETECTOR: Keys = {
    "pretrained": "text?",
    "backbone": "@backbone",
    "neck": "@neck",
    "rpn_head": "@rpn_head",
    "roi_head": "@roi_head",
    "tracker": "@tracker",
    "train_cfg": "#train_cfg",
    "test_cfg": "#test_cfg",
    "freeze_detector": (False,),
}
_TRACKER: Keys = {
    "init_score_thr": "number",
    "obj_score_thr": "number",
    "match_score_thr": "number",
    "memo_tracklet_frames": "int",
    "memo_backdrop_frames": "int",
    "memo_momentum": "number",
    "nms_conf_thr": "number",
    "nms_backdrop_iou_thr": "number",
    "nms_class_iou_thr": "number",
    "with_cats": "bool",
    "match_metric": ("bisoftmax", "softmax", "cosine"),
    "asso_tau": "any",
}
_SAMPLER: Keys = {
    "num": "int",
    "pos_fraction": "number",
    "neg_pos_ub": "number",
    "add_gt_as_proposals": "bool",
}
_DATASET: Keys = {
    "ann_file": "text",
    "img_prefix": "text",
    "data_root": "text?",
    "classes": "any",
    "kind": ("visible", "amodal", "joint"),
    "key_img_sampler": "#key_img_sampler",
    "ref_img_sampler": "#ref_img_sampler",
    "ref_share_flip": "any",
    "load_as_video": (True,),
    "pipeline": "[@transform]",
    "test_mode": "bool",
    "filter_empty_gt": "bool",
}

#: Slot to name to keys.
SLOTS: dict[str, dict[str, Keys]] = {
    "detector": dict.fromkeys(
        (
            "QuasiDenseMaskRCNN",
            "JointMaskQuasiDenseMaskRCNN",
            "JointBBoxMaskQuasiDenseMaskRCNN",
        ),
        _DETECTOR,
    ),
    "backbone": {
        "ResNet": _BACKBONE,
        "ResNeXt": {**_BACKBONE, "groups": "int", "base_width": "int"},
    },
    "norm": {"BN": _NORM, "GN": {**_NORM, "num_groups": "int"}},
    "neck": {"FPN": {"in_channels": "ints", "out_channels": "int", "num_outs": (5,)}},
    "rpn_head": {
        "RPNHead": {
            "in_channels": "int",
            "feat_channels": "int",
            "anchor_generator": "@anchor_generator",
            "bbox_coder": "@coder",
            "loss_cls": "@class_loss",
            "loss_bbox": "@box_loss",
        }
    },
    "anchor_generator": {
        "AnchorGenerator": {"scales": "numbers", "ratios": "numbers", "strides": "ints"}
    },
    "coder": {"DeltaXYWHBBoxCoder": _CODER},
    "class_loss": {
        "CrossEntropyLoss": {**_LOSS, "use_sigmoid": "bool", "class_weight": "numbers?"}
    },
    "box_loss": {"SmoothL1Loss": {**_LOSS, "beta": "number"}},
    "mask_loss": {"CrossEntropyLoss": {**_LOSS, "use_mask": (True,)}},
    "roi_head": {
        "QuasiDenseSegRoIHead": _ROI_HEAD,
        "JointMaskQuasiDenseRoIHead": _ROI_HEAD | _AMODAL_MASK,
        "JointBBoxMaskQuasiDenseRoIHead": _ROI_HEAD | _AMODAL_MASK | _AMODAL_BOX,
    },
    "roi_extractor": {
        "SingleRoIExtractor": {
            "roi_layer": "@roi_layer",
            "out_channels": "int",
            "featmap_strides": "ints",
            "finest_scale": "int",
        }
    },
    "roi_layer": {
        "RoIAlign": {"output_size": "int", "sampling_ratio": (0, -1), "aligned": (True,)}
    },
    "box_head": {"Shared2FCBBoxHead": _BOX_HEAD},
    "mask_head": {"FCNMaskHeadPlus": _MASK_HEAD},
    "amodal_mask_head": {"JointFCNMaskHeadPlus": _MASK_HEAD},
    "track_head": {
        "QuasiDenseEmbedHead": {
            "num_convs": "int",
            "num_fcs": (1,),
            "roi_feat_size": "int",
            "in_channels": "int",
            "conv_out_channels": "int",
            "fc_out_channels": "int",
            "embed_channels": "int",
            "norm_cfg": "@norm",
            "softmax_temp": (-1,),
            "loss_track": "@track_loss",
            "loss_track_aux": "@track_aux_loss",
        }
    },
    "track_loss": {"MultiPosCrossEntropyLoss": _LOSS},
    "track_aux_loss": {
        "L2Loss": {
            **_LOSS,
            "neg_pos_ub": "number",
            "pos_margin": "number",
            "neg_margin": "number",
            "hard_mining": "bool",
        }
    },
    "tracker": dict.fromkeys(
        (
            "QuasiDenseSegEmbedTracker",
            "JointMaskQuasiDenseSegEmbedTracker",
            "JointBBoxMaskQuasiDenseSegEmbedTracker",
        ),
        _TRACKER,
    ),
    "assigner": {
        "MaxIoUAssigner": {
            "pos_iou_thr": "number",
            "neg_iou_thr": "number",
            "min_pos_iou": "number",
            "match_low_quality": "bool",
            "ignore_iof_thr": (-1,),
        }
    },
    "sampler": {
        "RandomSampler": _SAMPLER,
        "CombinedSampler": {
            **_SAMPLER,
            "pos_sampler": "@pos_sampler",
            "neg_sampler": "@neg_sampler",
        },
    },
    "pos_sampler": {"InstanceBalancedPosSampler": {}},
    "neg_sampler": {
        "IoUBalancedNegSampler": {
            "floor_thr": "number",
            "floor_fraction": (0, 0.0),
            "num_bins": "int",
        }
    },
    "nms": {"nms": {"iou_threshold": "number", "iou_thr": "number"}},
    "dataset": {"SAILVOSVideoDataset": _DATASET, "SAILVOSVideoDatasetNoJoint": _DATASET},
    "transform": {
        "LoadMultiImagesFromFile": {},
        "LoadImageFromFile": {},
        "SeqLoadAnnotations": {
            "with_bbox": (True,),
            "with_ins_id": (True,),
            "with_mask": (True,),
            "with_label": (True,),
        },
        "SeqResize": {"img_scale": "ints", "keep_ratio": (True,), "share_params": "any"},
        "SeqRandomFlip": {
            "share_params": (True,),
            "flip_ratio": "number",
            "direction": ("horizontal",),
        },
        "SeqNormalize": {"mean": "numbers", "std": "numbers", "to_rgb": (True,)},
        "SeqPad": {"size_divisor": "int"},
        "SeqDefaultFormatBundle": {},
        "SeqCollect": {"keys": "any", "ref_prefix": "any", "meta_keys": "any"},
        "MultiScaleFlipAug": {
            "img_scale": "ints",
            "flip": (False,),
            "transforms": "[@transform]",
        },
        "Resize": {"img_scale": "ints", "keep_ratio": (True,)},
        "RandomFlip": {"flip_ratio": "any"},
        "Normalize": {"mean": "numbers", "std": "numbers", "to_rgb": (True,)},
        "Pad": {"size_divisor": "int"},
        "ImageToTensor": {"keys": "any"},
        "VideoCollect": {"keys": "any", "meta_keys": "any"},
        "Collect": {"keys": "any", "meta_keys": "any"},
    },
    "optimizer": {"SGD": {"lr": "number", "momentum": "number", "weight_decay": "number"}},
    "log_hook": {"TextLoggerHook": {"interval": "any"}, "TensorboardLoggerHook": {}},
    "runner": {"EpochBasedRunner": {"max_epochs": "int"}},
}

_RPN_TEST: Keys = {
    "nms_pre": "int",
    "max_num": "int",
    "nms_thr": (0.7,),
    "min_bbox_size": (1,),
    "nms_across_levels": "any",
    "nms_post": "any",
}
_ASSIGNED: Keys = {
    "assigner": "@assigner",
    "sampler": "@sampler",
    "pos_weight": (-1,),
    "debug": "any",
}

#: Mappings without `type`.
SECTIONS: dict[str, Keys] = {
    "train_cfg": {
        "rpn": "#train_rpn",
        "rpn_proposal": "#rpn_test",
        "rcnn": "#train_rcnn",
        "embed": "#train_embed",
    },
    "train_rpn": {**_ASSIGNED, "allowed_border": (-1,)},
    "train_rcnn": {**_ASSIGNED, "mask_size": "int"},
    "train_embed": _ASSIGNED,
    "test_cfg": {"rpn": "#rpn_test", "rcnn": "#test_rcnn"},
    "rpn_test": _RPN_TEST,
    "test_rcnn": {
        "score_thr": "number",
        "nms": "@nms",
        "max_per_img": "int",
        "mask_thr_binary": "number",
    },
    "key_img_sampler": {"interval": "int"},
    "ref_img_sampler": {
        "num_ref_imgs": (1,),
        "scope": "int",
        "method": ("uniform",),
    },
    "data": {
        "samples_per_gpu": "int",
        "workers_per_gpu": "int",
        "train": "[@dataset]",
        "val": "@dataset",
        "test": "@dataset",
    },
    "optimizer_config": {
        "grad_clip": "#grad_clip?",
        "type": ("OptimizerHook", "Fp16OptimizerHook"),
    },
    "grad_clip": {"max_norm": "number", "norm_type": (2,)},
    "lr_config": {
        "policy": ("step",),
        "warmup": ("linear", None),
        "warmup_iters": "int",
        "warmup_ratio": "number",
        "step": "ints",
        "gamma": "number",
    },
    "checkpoint_config": {"interval": "int", "max_keep_ckpts": "int"},
    "log_config": {"interval": "int", "hooks": "[@log_hook]"},
    "evaluation": {"metric": "texts", "interval": "int"},
    "fp16": {"loss_scale": "any"},
    "dist_params": {"backend": "text"},
}

#: Assignments of a file that mean something; others serve inside it.
TOP: Keys = {
    "model": "@detector",
    "train_cfg": "#train_cfg",
    "test_cfg": "#test_cfg",
    "tracker": "@tracker",
    "data": "#data",
    "optimizer": "@optimizer",
    "optimizer_config": "#optimizer_config",
    "lr_config": "#lr_config",
    "checkpoint_config": "#checkpoint_config",
    "log_config": "#log_config",
    "evaluation": "#evaluation",
    "fp16": "#fp16",
    "runner": "@runner",
    "total_epochs": "int",
    "dist_params": "#dist_params",
    "log_level": "text",
    "load_from": "text?",
    "resume_from": "text?",
    "work_dir": "text?",
    "seed": "int",
    "gpu_ids": "any",
    "workflow": "any",
}
