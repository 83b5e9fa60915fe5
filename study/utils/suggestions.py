"""The known name that is meant by one that is unknown: as other tools call it, or the nearest in spelling."""

from __future__ import annotations

import difflib
import functools
import re
from collections.abc import Iterable, Mapping

_LEAST_LIKENESS = 0.55
_LONGEST = 80
_METRIC = re.compile(r"(?:(?P<split>train|training|val|valid|validation|eval|metrics?)[_/.])+(?P<name>.+)")

USUAL_NAMES: Mapping[str, str] = {
    # sections
    "space": "search_space param_space parameters params hyperparameters hparams config sweep tune",
    "trial": "training train hyperparameters hparams config fixed defaults",
    "objective": "metric goal monitor target",
    "objectives": "metrics directions goals",
    "data": "dataset datamodule datasets",
    "resources": "resources_per_trial hardware compute",
    "replicates": "repeats repetitions n_repeats seeds random_seeds",
    "search": "sweep tuner tune_config study",
    "budget": "stop stopping limits stopper",
    # hyperparameters
    "learning_rate": "lr lr0 base_lr init_lr initial_lr max_lr peak_lr eta eta0 step_size learn_rate",
    "backbone_learning_rate_factor": "backbone_lr encoder_lr lr_mult lr_multiplier layer_decay backbone_lr_factor",
    "weight_decay": "wd l2 decay l2_reg l2_regularization regularization weight_decay_rate",
    "decay_norms_and_biases": "no_bias_decay filter_bias_and_bn bias_weight_decay",
    "momentum": "mom sgd_momentum beta beta1 opt_momentum",
    "nesterov": "use_nesterov",
    "optimizer": "opt optim optimiser solver optimizer_name",
    "schedule": "sched scheduler lr_scheduler lr_schedule lr_policy learning_rate_schedule lr_sched cos_lr",
    "warmup_epochs": "warmup lr_warmup_epochs num_warmup_epochs warm_up warmup_steps warmup_ratio lr_warmup",
    "milestones": "steps decay_epochs decay_milestones lr_steps step_epochs lr_milestones lr_decay_epochs",
    "gamma": "lr_gamma decay_rate lr_decay lr_factor factor lr_decay_rate",
    "clip_grad_norm": "clip_grad grad_clip gradient_clip_val clipnorm max_grad_norm clip_norm global_clipnorm "
    "gradient_clipping clip max_norm",
    "ema_decay": "ema model_ema model_ema_decay ema_momentum use_ema averaging",
    "loss": "criterion loss_fn loss_function loss_type log_loss",
    "focal_gamma": "fl_gamma focal_loss_gamma",
    "label_smoothing": "smoothing label_smooth ls",
    "class_weights": "class_weight pos_weight loss_weights",
    "sampling": "sampler balanced_sampling weighted_sampler oversample oversampling",
    "max_epochs": "epochs num_epochs n_epochs epoch total_epochs num_train_epochs nb_epochs training_iteration max_t",
    "batch_size": "bs batch train_batch_size per_device_train_batch_size mini_batch_size minibatch_size",
    "early_stopping_patience": "patience early_stopping early_stop es_patience early_stopping_rounds",
    "early_stopping_metric": "monitor early_stopping_monitor",
    "early_stopping_min_delta": "min_delta",
    "precision": "amp mixed_precision dtype fp16 half use_amp amp_dtype",
    "channels_last": "memory_format",
    "family": "arch architecture model backbone model_name net network encoder",
    "depth": "layers num_layers n_layers resnet_depth model_depth",
    "head": "classifier fc",
    "head_width": "hidden_size hidden_dim hidden_units fc_size units",
    "head_dropout": "dropout drop drop_rate dropout_rate p_dropout",
    "init": "weights pretrained initialization initializer pretrained_weights init_weights weight_init checkpoint",
    "freeze": "frozen freeze_layers freeze_backbone frozen_stages trainable",
    "normalization": "normalize norm mean_std normalisation",
    "augmentation": "aug augment augmentations data_augmentation transform transforms auto_augment aa train_transforms",
    # domains
    "choice": "values categorical options list suggest_categorical q_choice",
    "uniform": "float double suggest_float quniform",
    "loguniform": "log_uniform log_uniform_values log suggest_loguniform qloguniform",
    "int": "randint int_uniform integer suggest_int qrandint",
    "logint": "lograndint qlograndint",
    # data
    "path": "data_dir root dir folder data_path image_dir directory train_dir data_root dataset_path",
    "image_size_px": "image_size img_size imgsz input_size resolution size crop_size image_shape im_size px",
    "count": "num_images n_samples samples repeats n_seeds num_seeds repetitions n_repeats",
    "fractions": "split splits val_split validation_split test_size val_size split_ratio train_val_test ratios",
    "seed": "random_seed random_state rng_seed manual_seed split_seed",
    "stratify": "stratified",
    "group_by": "group groups group_key",
    "resize": "resize_mode crop_mode interpolation",
    "classes": "class_names names labels class_map",
    # search, budget, resources
    "sampler": "algorithm algo method search_alg search_algorithm strategy",
    "trials": "n_trials num_samples num_trials max_trials run_cap max_evals n_iter num_runs",
    "pruner": "early_terminate pruning scheduler trial_scheduler",
    "min_epochs": "grace_period min_iter min_resource min_t n_warmup_steps",
    "reduction_factor": "eta halving_factor",
    "p_value": "alpha pvalue p_threshold",
    "wall_clock": "timeout time_budget time_budget_s max_time time time_limit walltime max_wall_clock",
    "accelerator_hours": "gpu_hours",
    "target": "goal target_value target_metric",
    "failures": "max_failures max_failed max_fail",
    "per_study": "save_top_k save_total_limit num_to_keep keep_checkpoints_num max_to_keep",
    "cpus_per_trial": "cpus num_cpus cpu n_cpus",
    "gpus_per_trial": "gpus num_gpus gpu devices n_gpus accelerators",
    "max_concurrent_trials": "max_concurrent concurrency n_jobs parallel workers num_workers",
    "worker_retries": "retries max_retries",
    # values
    "sgd": "momentum_sgd sgdm vanilla_sgd",
    "adamw": "adam_w adamw_torch",
    "rmsprop": "rms rms_prop rmsprop_tf",
    "cosine": "cos cosine_annealing cosineannealinglr cosine_decay cosine_lr cosineannealingwarmrestarts",
    "multistep": "step step_lr steplr multisteplr piecewise piecewise_constant_decay",
    "one_cycle": "1cycle onecyclelr one_cycle_lr super_convergence",
    "constant": "fixed const constant_lr",
    "asha": "async_hyperband asynchyperband successive_halving sha ashascheduler asyncsuccessivehalving "
    "successivehalvingpruner asynchyperbandscheduler",
    "hyperband": "hb bohb hyperbandpruner hyperbandscheduler hyperbandforbohb",
    "median": "median_stopping medianpruner median_stopping_rule medianstop",
    "percentile": "percentilepruner",
    "patient": "patientpruner",
    "wilcoxon": "wilcoxonpruner",
    "none": "nop noppruner nopruner off fifo fifoscheduler no disabled false null",
    "tpe": "tpesampler bayes bayesian bayesopt hyperopt optuna hyperoptsearch optunasearch",
    "random": "randomsampler random_search rand randomsearch",
    "gp": "gpsampler gaussian_process",
    "cmaes": "cma cma_es cmaessampler",
    "qmc": "sobol halton qmcsampler quasi_random lhs",
    "nsga2": "nsga nsgaii nsga_ii nsgaiisampler",
    "grid": "grid_search gridsearch gridsampler exhaustive",
    "one_factor": "ofat oat one_at_a_time one_factor_at_a_time ablation",
    "factorial": "fractional_factorial full_factorial doe",
    "points": "list listed explicit configurations",
    "max": "maximize maximise maximum higher",
    "min": "minimize minimise minimum lower",
    "cross_entropy": "ce bce crossentropyloss categorical_crossentropy binary_crossentropy softmax nll "
    "sparse_categorical_crossentropy bcewithlogitsloss",
    "focal": "focal_loss fl sigmoid_focal_loss",
    "fp32": "float32 full single",
    "bf16": "bfloat16 mixed mixed_bfloat16 float16 mixed_float16 fp16 16 half bf16_mixed",
    "imagenet": "pretrained imagenet1k imagenet1k_v1 imagenet1k_v2 timm torchvision",
    "kaiming": "he he_normal kaiming_normal he_uniform kaiming_uniform scratch",
    "xavier": "glorot glorot_uniform glorot_normal xavier_uniform xavier_normal",
    "wide_resnet": "wrn wideresnet wide_resnet50 wide_resnet50_2",
    "resnext": "resnext50 resnext50_32x4d",
    "resnet": "resnet18 resnet34 resnet50 resnet101 resnet152",
    "resnet_v2": "resnetv2 preact_resnet resnetv2_50",
    "linear": "dense",
    "crop": "center_crop centercrop centre_crop",
    "stretch": "squash distort squish",
    "pad": "letterbox",
    "flip": "horizontal_flip hflip fliplr random_horizontal_flip randomhorizontalflip random_flip",
    "rotate": "rotation random_rotation randomrotation degrees",
    "shift": "translate translation random_translation",
    "colour": "color color_jitter colorjitter jitter hsv",
    "erase": "random_erasing randomerasing erasing reprob cutout",
    "trivial": "trivialaugment trivialaugmentwide trivial_augment ta_wide randaugment autoaugment",
    # metrics, without their split
    "accuracy": "acc acc1 top1 accuracy_top1 top1_accuracy top1_acc categorical_accuracy binary_accuracy "
    "multiclassaccuracy sparse_categorical_accuracy",
    "macro_recall": "balanced_accuracy bal_acc balanced_acc recall recall_macro sensitivity mean_recall uar",
    "macro_precision": "precision precision_macro ppv",
    "f1": "f1_score f_score f1_binary binaryf1score",
    "macro_f1": "f1_macro f1_score f1_macro_score macro_f1_score",
    "auc": "auroc roc_auc roc_auc_score rocauc auc_roc multiclassauroc",
    "ece": "calibration_error expected_calibration_error",
    "images_per_s": "throughput images_per_second fps samples_per_second img_s",
    "epoch_s": "epoch_time time_per_epoch",
    "latency_ms": "latency inference_time",
    "parameters": "params n_params num_params model_size",
    "peak_memory_bytes": "memory gpu_memory peak_memory",
    # fields of a trial
    "state": "status",
    "run_id": "run mlflow_run",
    "busy_s": "duration runtime time_total_s elapsed time",
}
"""What Keras, Lightning, timm, Ultralytics, Ray Tune, Optuna and W&B call the things of a study, by our name."""


def nearest_name(name: str, known: Iterable[str]) -> str | None:
    """Return the known name that is meant by this one: its usual form, else the most alike; None if none is.

    Upper and lower case are the same, and so are hyphens, underscores and none.
    """
    lowered = {candidate.lower(): candidate for candidate in known}
    if usual := usual_name(name, lowered):
        return lowered[usual]
    nearest = difflib.get_close_matches(name.lower()[:_LONGEST], list(lowered), n=1, cutoff=_LEAST_LIKENESS)
    return lowered[nearest[0]] if nearest else None


def did_you_mean(name: str, known: Iterable[str], otherwise: str = "") -> str:
    """Return "; did you mean `x`?", or what is to stand there instead if no known name is near."""
    near = nearest_name(name, known)
    return f"; did you mean `{near}`?" if near else otherwise


def usual_name(name: str, known: Iterable[str]) -> str | None:
    """Return the known name that other tools call so; a metric may have another split before it, or none."""
    folded = {_folded(candidate): candidate for candidate in known}
    metric = _METRIC.fullmatch(name.lower())
    bare, split = (metric["name"], metric["split"]) if metric else (name, "")
    group, _, last = name.lower().rpartition(".")
    wanted = [_folded(name), *(f"{_folded(group)}{other}" for other in _meanings(last))]
    for meaning in (_folded(bare), *_meanings(bare)):
        wanted += [f"train{meaning}"] if split.startswith("train") else [f"val{meaning}", meaning]
    return next((folded[form] for form in wanted if form in folded), None)


def _meanings(name: str) -> tuple[str, ...]:
    return _by_alias().get(_folded(name), ())


@functools.cache
def _by_alias() -> dict[str, tuple[str, ...]]:
    """Return our names, folded, by what others call them."""
    ours: dict[str, tuple[str, ...]] = {}
    for name, aliases in USUAL_NAMES.items():
        for alias in aliases.split():
            ours[_folded(alias)] = (*ours.get(_folded(alias), ()), _folded(name))
    return ours


def _folded(name: str) -> str:
    return re.sub(r"[\W_]+", "", name[:_LONGEST].lower())
