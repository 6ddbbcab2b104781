# As on SAIL-VOS-cut, on whole videos.
_base_ = "./QDbasedVATrack_twobbox_SAILVOScut.py"

data_root = "../data/"
data = dict(
    train=dict(
        ann_file=data_root + "sailvos_complete_json/joint/train(bbox=both_bbox).json",
        img_prefix=data_root + "sailvos_complete_png/",
    ),
    val=dict(
        ann_file=data_root + "sailvos_complete_json/joint/valid(bbox=both_bbox).json",
        img_prefix=data_root + "sailvos_complete_png/",
    ),
    test=dict(
        ann_file=data_root + "sailvos_complete_json/joint/valid(bbox=both_bbox).json",
        img_prefix=data_root + "sailvos_complete_png/",
    ),
)
