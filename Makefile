# `make help` lists the targets. Variables: PYTHON, VENV, TORCH_INDEX, and those in each target's line.

PYTHON ?= python3
VENV ?= .venv
TORCH_INDEX ?=
BIN := $(VENV)/bin
STAMP := $(VENV)/.ready-$(shell cat requirements/*.txt */pyproject.toml | cksum | cut -d ' ' -f 1)$(if $(TORCH_INDEX),-$(shell echo '$(TORCH_INDEX)' | cksum | cut -d ' ' -f 1))
METHODS := stcn stemseg stmask devis vatrack
PACKAGES := ./common $(addprefix ./,$(METHODS))
RUN := $(BIN)/python

.DEFAULT_GOAL := help
.PHONY: help setup demo test lint format bench parity parity-common doctor tables clean bench-metrics bench-scale

help:  ## List every target
	@awk -F ':.*## ' '/^[a-zA-Z0-9_-]+:.*## /{printf "  %-22s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: $(STAMP)  ## Make the environment [PYTHON=python3.12 VENV=.venv TORCH_INDEX=URL]

$(STAMP):
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10))' \
	  || { echo "error: Python 3.10 or newer is needed; use make PYTHON=python3.12 ..."; exit 2; }
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet $(if $(TORCH_INDEX),--index-url $(TORCH_INDEX)) -r requirements/torch.txt
	$(BIN)/python -m pip install --quiet -r requirements/dev.txt
	$(BIN)/python -m pip install --quiet --no-deps --no-build-isolation $(addprefix -e ,$(PACKAGES))
	rm -f $(VENV)/.ready-*
	touch $@

# Stops with what to type where a variable is missing: $(call need,NAME,example).
need = $(if $($(1)),,$(error $(1) is missing: make $@ $(1)=$(2)))

demo: setup  ## Segment the built-in sample, or your own video [VIDEO=clip.mp4 MASK=first.png OUT=runs/demo]
	$(BIN)/stcn demo -o $(or $(OUT),runs/demo) $(if $(VIDEO),--video '$(VIDEO)') \
	  $(foreach m,$(MASK),--mask '$(m)') $(if $(TRUTH),--truth '$(TRUTH)')

test: setup  ## Run every test [JOBS=2 ARGS="-k memory"]
	$(RUN) -m pytest -n $(or $(JOBS),2) $(ARGS)

lint: setup  ## Style, format and types, Dockerfiles and compose.yaml
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/hadolint docker/*.Dockerfile
	$(BIN)/docker-compose -f docker/compose.yaml config --quiet

format: setup  ## Rewrite the sources in the house format
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: $(addprefix bench-,$(METHODS))  ## Run every benchmark

bench-metrics: setup  ## Measure the metrics on this machine [DAVIS=folder ARGS=...]
	$(RUN) benchmarks/bench_video_ap.py $(ARGS)
	$(RUN) benchmarks/bench_mots.py $(ARGS)
	$(RUN) benchmarks/bench_large_json.py
	$(if $(DAVIS),$(RUN) benchmarks/bench_jf.py --davis '$(DAVIS)' $(ARGS))

bench-scale: setup  ## Measure loader, forward, backward and checkpoint of a training step [ARGS="--only stcn"]
	$(RUN) benchmarks/bench_scale.py $(ARGS)

parity: parity-common $(addprefix parity-,$(METHODS))  ## Compare everything with its recorded numbers

parity-common: setup  ## Compare formats and metrics with recorded numbers [KIT=folder]
	$(RUN) -m vidseg_common.parity $(KIT)

doctor: setup  ## Check versions, devices, data sets, weights [DATA=folder WEIGHTS=file]
	$(RUN) -m vidseg_common.doctor $(if $(DATA),--data $(DATA)) $(if $(WEIGHTS),--weights $(WEIGHTS))

tables: setup  ## Write the tables of the documents from recorded numbers [ARGS="--check"]
	$(RUN) docs/update_tables.py $(ARGS)

clean:  ## Remove the environment and caches, keep data, runs and weights
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache

# --- stcn -----------------------------------------------------------------------------------------

GPUS ?= 1
LAUNCH = $(if $(filter 1,$(GPUS)),$(RUN),$(BIN)/torchrun --standalone --nproc_per_node=$(GPUS))

.PHONY: train-stcn train-stcn-demo eval-stcn eval-stcn-demo predict-stcn parity-stcn bench-stcn weights-stcn data-stcn

train-stcn: setup  ## Train a stage [STAGE=0 GPUS=1 ID=name LOAD=weights.pth RESUME=checkpoint.pth ARGS=...]
	$(LAUNCH) stcn/train.py --stage $(or $(STAGE),0) --id $(or $(ID),stage$(or $(STAGE),0)) \
	  $(if $(LOAD),--load_network '$(LOAD)') $(if $(RESUME),--load_model '$(RESUME)') $(ARGS)

train-stcn-demo: setup  ## Train the small network that ships with the repository (about 90 minutes on 2 cores)
	$(RUN) stcn/train.py --config stcn/configs/demo.yaml --id demo --saves runs/stcn-demo/saves \
	  --log_folder runs/stcn-demo/log $(ARGS)
	$(RUN) -m stcn.demo_weights runs/stcn-demo/saves

eval-stcn: setup  ## Segment and score a data set [DATASET=davis2017 OUT=runs/davis2017 ARGS=...]
	$(BIN)/stcn eval $(or $(DATASET),davis2017) --output $(or $(OUT),runs/$(or $(DATASET),davis2017)) $(ARGS)

eval-stcn-demo: setup  ## Score the shipped small network on DAVIS 2016 [DAVIS=folder]
	$(RUN) benchmarks/demo_davis2016.py --davis '$(DAVIS)' $(ARGS)

predict-stcn: setup  ## Segment a video [VIDEO=clip.mp4 MASK=first.png OUT=runs/predict ARGS=...]
	$(call need,VIDEO,clip.mp4)$(BIN)/stcn predict '$(VIDEO)' $(foreach m,$(MASK),--mask '$(m)') -o $(or $(OUT),runs/predict) $(ARGS)

parity-stcn: setup  ## Compare with recorded numbers of the original [KIT=folder]
	$(RUN) -m stcn.parity $(KIT)

bench-stcn: setup  ## Measure speed and memory [DAVIS=folder ARGS=...]
	$(RUN) benchmarks/bench_stcn.py $(if $(DAVIS),--davis '$(DAVIS)') $(ARGS)

weights-stcn: setup  ## Download the published weights [ARGS="--from-file stcn.pth"]
	$(RUN) stcn/download_model.py $(ARGS)

data-stcn: setup  ## Download the data sets [ARGS="--yes"]
	$(RUN) stcn/download_datasets.py $(ARGS)

# --- stemseg --------------------------------------------------------------------------------------

PUBLISHED_davis := davis
PUBLISHED_ytvis := youtube_vis
PUBLISHED_kittimots := kitti_mots

.PHONY: train-stemseg overfit-stemseg eval-stemseg predict-stemseg parity-stemseg bench-stemseg weights-stemseg

train-stemseg: setup  ## Train a stage [CFG=davis_1 GPUS=1 ID=name INITIAL=weights.pth RESUME=checkpoint.pth ARGS=...]
	$(LAUNCH) stemseg/training/main.py --cfg $(or $(CFG),davis_1).yaml --model_dir $(or $(ID),$(or $(CFG),davis_1)) \
	  $(if $(filter-out 1,$(GPUS)),--allow_multigpu) \
	  $(if $(INITIAL),--initial_ckpt '$(INITIAL)') $(if $(RESUME),--restore_session '$(RESUME)') $(ARGS)

overfit-stemseg: setup  ## Learn two synthetic clips from random weights, record J&F or keep all in a folder [FOLDER=... ARGS=...]
	$(RUN) benchmarks/overfit_stemseg.py $(if $(FOLDER),--folder '$(FOLDER)' --out '$(FOLDER)/score.json') $(ARGS)

eval-stemseg: setup  ## Segment and score a data set [DATASET=davis MODEL=davis.pth OUT=runs/stemseg-davis ARGS=...]
	$(BIN)/stemseg eval $(or $(MODEL),saves/stemseg/$(PUBLISHED_$(or $(DATASET),davis)).pth) --dataset $(or $(DATASET),davis) \
	  -o '$(abspath $(or $(OUT),runs/stemseg-$(or $(DATASET),davis)))' $(ARGS)

predict-stemseg: setup  ## Find and track objects in a video [VIDEO=clip.mp4 OUT=runs/predict ARGS=...]
	$(call need,VIDEO,clip.mp4)$(BIN)/stemseg predict '$(VIDEO)' -o $(or $(OUT),runs/predict) $(ARGS)

parity-stemseg: setup  ## Compare with recorded numbers of the original [KIT=folder]
	$(RUN) -m stemseg.parity $(KIT)

bench-stemseg: setup  ## Measure speed and memory, stage by stage [DAVIS=folder ARGS=...]
	$(RUN) benchmarks/bench_stemseg.py $(if $(DAVIS),--davis '$(DAVIS)') $(ARGS)

weights-stemseg: setup  ## Put published weights in place [ARGS="davis --from-file davis.pth"]
	$(BIN)/stemseg download $(ARGS)

# --- stmask ---------------------------------------------------------------------------------------

.PHONY: train-stmask overfit-stmask eval-stmask predict-stmask viewer-stmask parity-stmask bench-stmask weights-stmask

train-stmask: setup  ## Train [CONFIG=STMask_plus_base_config BATCH=8 GPUS=1 OUT=weights/weights_temp RESUME=latest ARGS=...]
	$(LAUNCH) stmask/train.py --config $(or $(CONFIG),STMask_plus_base_config) --batch_size $(or $(BATCH),8) \
	  $(if $(OUT),--save_folder '$(OUT)') $(if $(RESUME),--resume '$(RESUME)') $(ARGS)

overfit-stmask: setup  ## Learn two synthetic clips from random weights, record AP [ARGS=...]
	$(RUN) benchmarks/overfit_stmask.py $(ARGS)

eval-stmask: setup  ## Segment and score a data set [MODEL=weights/x.pth CONFIG=name OUT=runs/stmask/results.json ARGS=...]
	$(BIN)/stmask eval --trained_model '$(or $(MODEL),weights/STMask_plus_resnet50.pth)' $(if $(CONFIG),--config $(CONFIG)) \
	  --mask_det_file '$(or $(OUT),runs/stmask/results.json)' $(ARGS)

predict-stmask: setup  ## Find, classify and track objects in a video [VIDEO=clip.mp4 MODEL=weights/x.pth OUT=runs/predict ARGS=...]
	$(call need,VIDEO,clip.mp4)$(BIN)/stmask predict '$(VIDEO)' -o '$(or $(OUT),runs/predict)' \
	  --model '$(or $(MODEL),weights/STMask_plus_resnet50.pth)' $(ARGS)

viewer-stmask: setup  ## Show result files in the browser, at port 6337 [ARGS=...]
	$(BIN)/stmask viewer $(ARGS)

parity-stmask: setup  ## Compare with recorded numbers of the original [KIT=folder]
	$(RUN) -m stmask.parity $(KIT)

bench-stmask: setup  ## Measure speed and memory, stage by stage [ARGS=...]
	$(RUN) benchmarks/bench_stmask.py $(ARGS)

weights-stmask: setup  ## Put published weights in place [ARGS="STMask_plus_resnet50 --from-file x.pth"]
	$(BIN)/stmask download $(ARGS)

# --- devis ----------------------------------------------------------------------------------------

.PHONY: parity-devis bench-devis ops train-devis overfit-devis eval-devis predict-devis weights-devis

train-devis: setup  ## Train [CFG=devis_R_50_YT-21 GPUS=1 OUT=output RESUME=latest ARGS="KEY VALUE ..."]
	$(LAUNCH) devis/main.py --config-file '$(or $(CFG),devis_R_50_YT-21)' $(if $(RESUME),--resume '$(RESUME)') \
	  $(if $(OUT),OUTPUT_DIR '$(OUT)') $(ARGS)

overfit-devis: setup  ## Learn two synthetic clips from random weights, record AP [ARGS=...]
	$(RUN) benchmarks/overfit_devis.py $(ARGS)

eval-devis: setup  ## Run and score a validation set [CFG=devis_R_50_YT-21 MODEL=weights/x.pth DATA=data OUT=output GPUS=1 ARGS="KEY VALUE ..."]
	$(LAUNCH) devis/main.py --config-file '$(or $(CFG),devis_R_50_YT-21)' --eval-only \
	  MODEL.WEIGHTS '$(or $(MODEL),weights/r50_devis_yt-21.pth)' $(if $(DATA),DATASETS.DATA_PATH '$(DATA)') \
	  $(if $(OUT),OUTPUT_DIR '$(OUT)') $(ARGS)

predict-devis: setup  ## Find, classify and track objects in a video [VIDEO=clip.mp4 MODEL=weights/x.pth OUT=runs/predict ARGS=...]
	$(call need,VIDEO,clip.mp4)$(BIN)/devis predict '$(VIDEO)' -o '$(or $(OUT),runs/predict)' \
	  --model '$(or $(MODEL),weights/r50_devis_yt-21.pth)' $(ARGS)

weights-devis: setup  ## Put published weights in place [ARGS="r50_devis_yt-21 --from-file x.zip"]
	$(BIN)/devis download $(ARGS)

parity-devis: setup  ## Compare with recorded numbers of the original [KIT=folder]
	$(RUN) -m devis.parity $(KIT)

bench-devis: setup  ## Measure speed and memory, stage by stage [ARGS=...]
	$(RUN) benchmarks/bench_devis.py $(ARGS)

ops: setup  ## Compile the kernels of DeVIS now, rather than at their first use
	$(RUN) -m devis.ops

# --- vatrack --------------------------------------------------------------------------------------

.PHONY: train-vatrack overfit-vatrack eval-vatrack predict-vatrack weights-vatrack bench-vatrack parity-vatrack

train-vatrack: setup  ## Train [CONFIG=QDbasedVATrack_SAILVOScut BACKBONE=r50 GPUS=1 OUT=folder LOAD=weights.pth RESUME=checkpoint.pth ARGS=...]
	$(LAUNCH) vatrack/tools/train.py --config '$(or $(CONFIG),QDbasedVATrack_SAILVOScut)' \
	  $(if $(BACKBONE),--backbone $(BACKBONE)) $(if $(OUT),--work-dir '$(OUT)') \
	  $(if $(LOAD),--load-from '$(LOAD)') $(if $(RESUME),--resume-from '$(RESUME)') $(ARGS)

eval-vatrack: setup  ## Run and score a data set [CONFIG=QDbasedVATrack_SAILVOScut MODEL=weights/x.pth OUT=runs/vatrack/results.pkl GPUS=1 ARGS=...]
	$(LAUNCH) vatrack/tools/test.py --config '$(or $(CONFIG),QDbasedVATrack_SAILVOScut)' $(if $(BACKBONE),--backbone $(BACKBONE)) \
	  --checkpoint '$(or $(MODEL),weights/QDbasedVATrack.pth)' --out '$(or $(OUT),runs/vatrack/results.pkl)' $(ARGS)

predict-vatrack: setup  ## Find, classify and track objects, visible and amodal masks [VIDEO=clip.mp4 MODEL=weights/x.pth OUT=runs/predict ARGS=...]
	$(call need,VIDEO,clip.mp4)$(BIN)/vatrack predict '$(VIDEO)' -o '$(or $(OUT),runs/predict)' \
	  --checkpoint '$(or $(MODEL),weights/QDbasedVATrack.pth)' $(ARGS)

weights-vatrack: setup  ## Put published weights in place [ARGS="QDbasedVATrack --from-file x.pth"]
	$(BIN)/vatrack download $(ARGS)

overfit-vatrack: setup  ## Learn two synthetic clips from random weights, record visible and amodal vAP [ARGS=...]
	$(RUN) benchmarks/overfit_vatrack.py $(ARGS)

parity-vatrack: setup  ## Compare with recorded numbers of the original [KIT=folder]
	$(RUN) -m vatrack.parity $(KIT)

bench-vatrack: setup  ## Measure speed, stage by stage [ARGS=...]
	$(RUN) benchmarks/bench_vatrack.py $(ARGS)

# --- clusters -------------------------------------------------------------------------------------

.PHONY: slurm-check slurm-train-stcn slurm-train-stemseg slurm-train-stmask slurm-train-devis slurm-train-vatrack

slurm-check: setup  ## Run the cluster scripts on a SLURM that is installed and started for it, as root [ARGS=--may-skip]
	$(RUN) tests/slurm/check.py $(ARGS)

# Variables given to make reach the job: they are in the environment of sbatch.
slurm-train-stcn:  ## Submit a training [STAGE=0 ID=name LOAD=weights.pth SBATCH="--nodes=2 --gpus-per-node=4" ARGS=...]
	sbatch $(SBATCH) stcn/slurm/train.sbatch

slurm-train-stemseg:  ## Submit a training [CFG=davis_1 ID=name INITIAL=weights.pth SBATCH="--nodes=2" ARGS=...]
	sbatch $(SBATCH) stemseg/slurm/train.sbatch

slurm-train-stmask:  ## Submit a training [CONFIG=STMask_plus_base_config BATCH=8 OUT=folder SBATCH="--nodes=2" ARGS=...]
	sbatch $(SBATCH) stmask/slurm/train.sbatch

slurm-train-devis:  ## Submit a training [CFG=devis_R_50_YT-21 OUT=folder SBATCH="--nodes=2" ARGS=...]
	sbatch $(SBATCH) devis/slurm/train.sbatch

slurm-train-vatrack:  ## Submit a training [CONFIG=QDbasedVATrack_SAILVOScut BACKBONE=r50 OUT=folder SBATCH="--nodes=2" ARGS=...]
	sbatch $(SBATCH) vatrack/slurm/train.sbatch

.PHONY: slurm-eval-stcn slurm-eval-stemseg slurm-eval-stmask slurm-eval-devis slurm-eval-vatrack
.PHONY: slurm-predict-stcn slurm-predict-stemseg slurm-predict-stmask slurm-predict-devis slurm-predict-vatrack

slurm-eval-stcn:  ## Submit an evaluation in shards and its merge [SHARDS=8 DATASET=davis2017 OUT=folder SBATCH=... ARGS=...]
	common/slurm/submit_array.sh stcn/slurm/eval_array.sbatch

slurm-eval-stemseg:  ## Submit an evaluation in shards and its merge [SHARDS=8 DATASET=davis MODEL=davis.pth OUT=folder SBATCH=... ARGS=...]
	common/slurm/submit_array.sh stemseg/slurm/eval_array.sbatch

slurm-eval-stmask:  ## Submit an evaluation in shards and its merge [SHARDS=8 MODEL=weights/x.pth OUT=results.json SBATCH=... ARGS=...]
	common/slurm/submit_array.sh stmask/slurm/eval_array.sbatch

slurm-eval-devis:  ## Submit an evaluation in shards and its merge [SHARDS=8 CFG=devis_R_50_YT-21 MODEL=weights/x.pth OUT=folder SBATCH=... ARGS=...]
	common/slurm/submit_array.sh devis/slurm/eval_array.sbatch

slurm-eval-vatrack:  ## Submit an evaluation in shards and its merge [SHARDS=8 CONFIG=QDbasedVATrack_SAILVOScut MODEL=weights/x.pth OUT=results.pkl SBATCH=... ARGS=...]
	common/slurm/submit_array.sh vatrack/slurm/eval_array.sbatch

slurm-predict-stcn:  ## Submit own videos in shards and their merge [SHARDS=8 VIDEO=folder MASK=folder OUT=folder SBATCH=... ARGS=...]
	common/slurm/submit_array.sh stcn/slurm/predict_array.sbatch

slurm-predict-stemseg:  ## Submit own videos in shards and their merge [SHARDS=8 VIDEO=folder MODEL=weights.pth OUT=folder SBATCH=... ARGS=...]
	common/slurm/submit_array.sh stemseg/slurm/predict_array.sbatch

slurm-predict-stmask:  ## Submit own videos in shards and their merge [SHARDS=8 VIDEO=folder MODEL=weights.pth OUT=folder SBATCH=... ARGS=...]
	common/slurm/submit_array.sh stmask/slurm/predict_array.sbatch

slurm-predict-devis:  ## Submit own videos in shards and their merge [SHARDS=8 VIDEO=folder MODEL=weights.pth OUT=folder SBATCH=... ARGS=...]
	common/slurm/submit_array.sh devis/slurm/predict_array.sbatch

slurm-predict-vatrack:  ## Submit own videos in shards and their merge [SHARDS=8 VIDEO=folder MODEL=weights.pth OUT=folder SBATCH=... ARGS=...]
	common/slurm/submit_array.sh vatrack/slurm/predict_array.sbatch

# --- containers -----------------------------------------------------------------------------------

DOCKER ?= docker
TARGET ?= gpu
comma := ,

.PHONY: docker-stcn docker-stemseg docker-stmask docker-devis docker-vatrack docker-check

# An argument is handed on only where it is given, so that each Dockerfile keeps its own pins.
docker_build = $(DOCKER) build -f docker/$(1).Dockerfile --target $(TARGET) -t vidseg-$(1):$(TARGET) \
	  $(foreach name,BASE BASE_CPU TORCH TORCHVISION TORCH_INDEX PIP_INDEX_URL,$(if $($(name)),--build-arg '$(name)=$($(name))')) \
	  $(if $(PIP_CONF),--secret 'id=pip$(comma)src=$(PIP_CONF)') $(ARGS) .

docker-stcn:  ## Build the image of STCN [TARGET=cpu BASE=image TORCH_INDEX=URL PIP_INDEX_URL=URL PIP_CONF=file DOCKER=podman ARGS=...]
	$(call docker_build,stcn)

docker-stemseg:  ## Build the image of STEm-Seg [as above]
	$(call docker_build,stemseg)

docker-stmask:  ## Build the image of STMask [as above]
	$(call docker_build,stmask)

docker-devis:  ## Build the image of DeVIS [as above]
	$(call docker_build,devis)

docker-vatrack:  ## Build the image of VATrack [as above]
	$(call docker_build,vatrack)

docker-check:  ## Build images without an engine and try them; needs Debian and root [METHODS=stcn TARGET=gpu ARGS=...]
	$(PYTHON) docker/check.py --target $(TARGET) $(ARGS) $(METHODS)
