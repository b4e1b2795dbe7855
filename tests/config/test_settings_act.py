"""Each setting changes what happens: here stands which test sees it do so."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from artquant.config import DescribeSpec, EvaluateSpec, GateSpec, ScoreSpec, Section, TrainSpec

TESTS = Path(__file__).resolve().parents[1]
JOBS: dict[str, type[Section]] = {"score": ScoreSpec, "describe": DescribeSpec, "evaluate": EvaluateSpec, "train": TrainSpec}

SCORE_SETTINGS, EVALUATE_SETTINGS, JOB_SETTINGS = (
    "pipelines/test_score_settings.py",
    "pipelines/test_evaluate_settings.py",
    "cli/test_job_settings.py",
)
DEADLINE = "cli/test_deadline.py"
CAPACITY = "pipelines/test_capacity.py"
SCHEDULING, LOADER, STEP = "pipelines/test_scheduling.py", "pipelines/test_loader.py", "training/test_step.py"
TRAINER, NETWORK, SCHEDULE = "training/test_trainer.py", "training/test_network.py", "training/test_schedule.py"
OPEN, VLLM, TRAIN = "engines/test_open.py", "engines/test_vllm_arguments.py", "pipelines/test_train.py"
WATCHING, WATCH, HOOKS = "cli/test_watching.py", "progress/test_watch.py", "cli/test_hooks.py"
CHECKPOINT_AND_BASE = f"{JOB_SETTINGS}::test_the_checkpoint_and_the_base_that_are_named_are_opened"
REGISTRY = f"{JOB_SETTINGS}::test_the_current_model_is_that_of_the_registry_that_is_named"
SAMPLE = f"{JOB_SETTINGS}::test_so_many_paintings_of_the_sample_are_rated_where_no_annotations_are_given"
CHAIN = f"{SCORE_SETTINGS}::test_the_chain_is_given_the_nights_settings"
CLAIM = f"{SCORE_SETTINGS}::test_the_night_is_claimed_with_its_settings"
WORKERS = f"{EVALUATE_SETTINGS}::test_workers_fetch_and_stall_as_the_settings_say"
ENGINE = f"{JOB_SETTINGS}::test_workers_open_the_model_with_the_engine_and_the_preprocessing_of_the_settings"
SPLITS = "annotations/test_split.py::test_every_row_falls_to_the_split_that_the_settings_draw_and_scores_lie_within_the_levels"
LIMITS = f"{SCORE_SETTINGS}::test_the_first_so_many_artworks_are_scored_of_those_that_are_not_excluded"
SCALE = "annotations/test_tables.py::test_a_score_beyond_the_scale_is_refused"
POOL = f"{SCHEDULING}::test_engines_are_as_many_and_have_what_the_settings_say"
PLACE = f"{SCORE_SETTINGS}::test_the_rows_lie_in_the_partition_of_the_runs_date_and_name"
NAMED_EVALUATION = f"{EVALUATE_SETTINGS}::test_an_evaluation_lies_in_the_output_under_its_name"
PATIENCE = "storage/test_patience.py::test_the_loader_hands_its_settings_and_the_plans_size_on"
BATCHES = f"{SCHEDULING}::test_the_engine_is_given_whole_batches_and_told_whether_texts_are_wanted"
REVIEW = "pipelines/test_rows.py::test_a_person_is_asked_where_the_mass_is_small_or_the_levels_lie_far_apart"
EVERY_VLLM = f"{VLLM}::test_every_setting_of_vllm_reaches_it"
WEIGHTS = f"{STEP}::test_each_task_weighs_in_the_gradient_what_its_loss_weight_says"
GATES = f"{SCORE_SETTINGS}::test_each_gate_holds_what_is_beyond_it_and_a_wider_one_does_not"
LORA = f"{NETWORK}::test_an_adapters_update_has_the_rank_the_scale_and_the_dropout_that_are_set"
PASSES = f"{STEP}::test_a_step_is_so_many_passes_over_so_many_artworks"
RATES = f"{STEP}::test_the_rate_of_each_step_is_the_schedules"
OPTIMIZER = f"{SCHEDULE}::test_only_matrices_decay_and_throw_away_heads_learn_faster"
LENGTH = "training/test_data.py::test_a_run_is_so_many_steps_or_as_many_as_its_epochs_take"
RESOURCES = f"{TRAINER}::test_workers_are_as_many_and_have_what_the_settings_say"
PROMOTION = f"{TRAIN}::test_a_candidate_is_promoted_only_where_the_interval_of_the_difference_lies_above_the_margin"

COLLECTIONS = "pipelines/test_nights.py::test_a_night_of_an_inventory_and_one_of_a_manifest_that_carries_columns_and_retries"

DESCRIBED, PIPELINE = "pipelines/test_describe_settings.py", "pipelines/test_describe.py"
PLAYER = {
    "engine": "test_the_engine_follows_from_what_is_named",
    "model": "test_a_model_and_its_endpoint_are_known_by_both_and_belong_to_a_family",
    "base_url": "test_a_model_and_its_endpoint_are_known_by_both_and_belong_to_a_family",
    "family": "test_a_model_and_its_endpoint_are_known_by_both_and_belong_to_a_family",
    "environment_variable": "test_an_endpoint_is_asked_as_the_settings_say",
    "concurrency": "test_an_endpoint_is_asked_as_the_settings_say",
    "attempts": "test_an_endpoint_is_asked_as_the_settings_say",
    "timeout_seconds": "test_an_endpoint_is_asked_as_the_settings_say",
    "requests_per_minute": "test_an_endpoint_is_asked_as_the_settings_say",
    "tokens_per_minute": "test_an_endpoint_is_asked_as_the_settings_say",
    "temperature": "test_the_first_round_has_the_temperature_that_is_set_and_later_ones_half_a_degree",
    "max_tokens": "test_a_reservation_is_what_a_request_takes_at_the_most",
    "input_price": "test_a_reservation_is_what_a_request_takes_at_the_most",
    "output_price": "test_a_reservation_is_what_a_request_takes_at_the_most",
    "picture_tokens": "test_a_reservation_is_what_a_request_takes_at_the_most",
}

SEEN_BY = {
    "describe.annotations": f"{DESCRIBED}::test_an_artwork_is_changed_where_its_score_or_its_comment_is",
    "describe.scores": f"{DESCRIBED}::test_the_scores_of_a_score_job_can_be_described",
    "describe.output": f"{DESCRIBED}::test_a_night_is_claimed_and_planned_as_the_settings_say",
    "describe.sample_size": f"{DESCRIBED}::test_the_places_are_those_that_are_named",
    "describe.generator": f"{DESCRIBED}::test_pictures_leave_this_machine_only_where_that_is_allowed",
    "describe.judge": f"{DESCRIBED}::test_pictures_leave_this_machine_only_where_that_is_allowed",
    "describe.exam": f"{DESCRIBED}::test_the_bar_of_the_exam_is_that_of_the_settings",
    "describe.workers": f"{DESCRIBED}::test_workers_are_as_many_and_have_what_the_settings_say",
    "describe.templates": f"{DESCRIBED}::test_what_is_asked_is_that_of_the_folder_of_templates",
    "describe.language": f"{DESCRIBED}::test_a_worker_is_told_what_the_settings_say",
    "describe.statistics": f"{DESCRIBED}::test_a_worker_is_told_what_the_settings_say",
    "describe.claims": "pipelines/test_describe.py::test_sentences_are_asked_one_by_one_of_the_picture",
    "describe.stop_without_gain": "pipelines/test_describe.py::test_a_round_without_gain_is_the_last",
    "describe.max_rounds": f"{DESCRIBED}::test_a_worker_is_told_what_the_settings_say",
    "describe.allow_external": f"{DESCRIBED}::test_pictures_leave_this_machine_only_where_that_is_allowed",
    "describe.picture_size": f"{DESCRIBED}::test_pictures_leave_this_machine_only_where_that_is_allowed",
    "describe.stall_minutes": f"{DESCRIBED}::test_a_worker_is_told_what_the_settings_say",
    "describe.fetch": f"{DESCRIBED}::test_a_worker_is_told_what_the_settings_say",
    "exam.size": f"{DESCRIBED}::test_an_exam_has_so_many_artworks_with_each_fault",
    "exam.false_refusals": f"{DESCRIBED}::test_the_bar_of_the_exam_is_that_of_the_settings",
    "describe.limit": f"{DESCRIBED}::test_a_night_is_claimed_and_planned_as_the_settings_say",
    "describe.retry": f"{DESCRIBED}::test_a_night_is_claimed_and_planned_as_the_settings_say",
    "describe.force": f"{DESCRIBED}::test_a_night_is_claimed_and_planned_as_the_settings_say",
    "describe.accept_rolled_back": f"{DESCRIBED}::test_a_night_is_claimed_and_planned_as_the_settings_say",
    "describe.run_id": f"{DESCRIBED}::test_a_night_is_claimed_and_planned_as_the_settings_say",
    "describe.run_date": f"{DESCRIBED}::test_a_night_is_claimed_and_planned_as_the_settings_say",
    "describe.rows_per_file": f"{DESCRIBED}::test_a_night_is_claimed_and_planned_as_the_settings_say",
    "describe.stale_seconds": f"{DESCRIBED}::test_a_night_is_claimed_and_planned_as_the_settings_say",
    "workers.num_workers": f"{DESCRIBED}::test_workers_are_as_many_and_have_what_the_settings_say",
    "workers.num_gpus": f"{DESCRIBED}::test_workers_are_as_many_and_have_what_the_settings_say",
    "workers.num_cpus": f"{DESCRIBED}::test_workers_are_as_many_and_have_what_the_settings_say",
    "describe.budget_tokens": f"{PIPELINE}::test_a_budget_is_never_passed_what_was_done_is_kept_and_a_larger_one_goes_on",
    "describe.budget_money": "descriptions/test_purse_and_cache.py::test_many_threads_together_never_pass_either_limit",
    "describe.max_duplicates": "descriptions/test_measures.py::test_texts_that_are_nearly_equal_hold_the_run_beyond_the_bound",
    "exam.false_accepts": "descriptions/test_loop_and_exam.py::test_the_threshold_gives_the_wanted_false_accepts",
    "workers.shard_rows": "results/test_waves.py::test_a_wave_is_cut_into_shards_and_its_first_plan_stands",
    "workers.wave_rows": f"{PIPELINE}::test_descriptions_are_judged_written_again_set_aside_published_and_train_a_model",
    **{f"{player}.{name}": f"{DESCRIBED}::{test}" for player in ("generator", "judge") for name, test in PLAYER.items()},
    "score.input": LIMITS,
    "score.manifest": "pipelines/test_nights.py::test_two_nights_over_a_manifest",
    "score.inventory": COLLECTIONS,
    "score.retry": COLLECTIONS,
    "score.carry": COLLECTIONS,
    "score.force": "pipelines/test_nights.py::test_what_decides_the_rows_makes_another_run_and_nothing_else_does",
    "score.accept_rolled_back": "pipelines/test_nights.py::test_a_model_that_was_taken_back_is_scored_with_when_that_is_accepted",
    "score.price_per_hour": "cli/test_nights.py::test_the_plan_reckons_with_what_earlier_runs_measured",
    "score.log_format": f"{WATCHING}::test_as_json_the_whole_command_is_records_and_its_end_is_one_with_numbers",
    **{f"{job}.watch": f"{HOOKS}::test_a_job_that_fails_says_so_to_its_hooks" for job in ("train", "evaluate", "describe")},
    "score.watch": f"{WATCHING}::test_a_scrape_during_the_run_sees_its_plan",
    "watch.metrics_port": f"{WATCH}::test_a_scrape_sees_the_run_as_it_is_and_the_port_closes_with_it",
    "watch.metrics_host": f"{WATCH}::test_the_port_is_that_of_the_host_that_is_named",
    "watch.metrics_file": f"{WATCH}::test_the_file_is_there_from_the_start_is_renewed_and_says_at_last_that_the_run_has_ended",
    "watch.push_gateway": f"{WATCH}::test_the_gateway_gets_the_runs_metrics_under_the_jobs_name",
    "watch.job": f"{WATCH}::test_the_gateway_gets_the_runs_metrics_under_the_jobs_name",
    "watch.heartbeat_seconds": f"{WATCH}::test_the_file_is_there_from_the_start_is_renewed_and_says_at_last_that_the_run_has_ended",
    "watch.webhook": f"{HOOKS}::test_a_webhook_is_sent_the_summary_and_its_address_may_come_from_the_environment",
    "watch.command": f"{HOOKS}::test_a_command_has_the_summary_on_its_input_and_the_ending_in_its_environment",
    "watch.hook_seconds": f"{HOOKS}::test_what_fails_is_one_line",
    "score.output": PLACE,
    "score.model": CHECKPOINT_AND_BASE,
    "score.base": CHECKPOINT_AND_BASE,
    "score.registry": REGISTRY,
    "score.exclude": LIMITS,
    "score.limit": LIMITS,
    "score.run_id": PLACE,
    "score.run_date": PLACE,
    "score.max_rejected_fraction": f"{SCORE_SETTINGS}::test_as_many_rejects_as_are_allowed_are_published",
    "score.min_rejected": "pipelines/test_score_faults.py::test_a_page_that_cannot_be_written_does_not_hide_why_the_run_failed",
    "score.rows_per_file": CLAIM,
    "score.stale_seconds": CLAIM,
    "score.deadline": f"{DEADLINE}::test_the_end_is_the_deadline_or_when_the_money_is_spent",
    "score.max_cost": f"{DEADLINE}::test_the_end_is_the_deadline_or_when_the_money_is_spent",
    "score.single_writer": "results/test_trust.py::test_a_store_that_ignores_conditions_is_refused_or_used_by_one_writer",
    "score.stall_minutes": CHAIN,
    "score.fetch": CHAIN,
    "score.engine": ENGINE,
    "score.review": CHAIN,
    "evaluate.annotations": f"{EVALUATE_SETTINGS}::test_the_annotated_pictures_are_the_input",
    "evaluate.split": f"{EVALUATE_SETTINGS}::test_the_split_is_that_of_the_settings_fractions_and_seed",
    "evaluate.output": NAMED_EVALUATION,
    "evaluate.model": CHECKPOINT_AND_BASE,
    "evaluate.registry": REGISTRY,
    "evaluate.base": CHECKPOINT_AND_BASE,
    "evaluate.limit": "pipelines/test_evaluate.py::test_the_splits_part_the_annotated_artworks_that_are_there",
    "evaluate.sample_size": SAMPLE,
    "evaluate.run_id": NAMED_EVALUATION,
    "evaluate.subgroups": f"{EVALUATE_SETTINGS}::test_the_columns_that_are_named_are_looked_at_apart",
    "evaluate.theory": f"{EVALUATE_SETTINGS}::test_the_theory_looks_at_so_many_artworks_or_at_none",
    "evaluate.theory_limit": f"{EVALUATE_SETTINGS}::test_the_theory_looks_at_so_many_artworks_or_at_none",
    "evaluate.bootstrap_rounds": f"{EVALUATE_SETTINGS}::test_intervals_come_from_so_many_resamples",
    "evaluate.stall_minutes": WORKERS,
    "evaluate.num_misses": f"{EVALUATE_SETTINGS}::test_the_page_shows_so_many_misses",
    "evaluate.max_rejected_fraction": f"{EVALUATE_SETTINGS}::test_as_many_rejects_as_are_allowed_pass_and_one_more_fails",
    "evaluate.fetch": WORKERS,
    "evaluate.engine": ENGINE,
    "train.annotations": f"{JOB_SETTINGS}::test_a_training_is_judged_by_the_engine_and_the_preprocessing_of_its_settings",
    "train.output": f"{TRAIN}::test_training_and_judging_fetch_write_and_end_stalled_workers_as_the_spec_says",
    "train.registry": REGISTRY,
    "train.model": CHECKPOINT_AND_BASE,
    "train.base": CHECKPOINT_AND_BASE,
    "train.run_id": f"{JOB_SETTINGS}::test_a_training_is_judged_by_the_engine_and_the_preprocessing_of_its_settings",
    "train.promote": PROMOTION,
    "train.sample_size": SAMPLE,
    "train.margin": PROMOTION,
    "train.loss": WEIGHTS,
    "train.lora": LORA,
    "loss.roles": f"{STEP}::test_the_describe_jobs_parts_are_learnt_where_that_is_asked",
    "train.vision_warmup": f"{STEP}::test_the_warm_up_teaches_the_score_and_the_columns_that_are_named",
    "train.fit": RATES,
    "train.fetch": f"{TRAIN}::test_training_and_judging_fetch_write_and_end_stalled_workers_as_the_spec_says",
    "train.engine": f"{JOB_SETTINGS}::test_a_training_is_judged_by_the_engine_and_the_preprocessing_of_its_settings",
    "train.stall_minutes": f"{TRAIN}::test_training_and_judging_fetch_write_and_end_stalled_workers_as_the_spec_says",
    "annotations.uri": "annotations/test_tables.py::test_a_folder_is_read_below_and_what_is_no_table_is_left_alone",
    "annotations.images": "annotations/test_tables.py::test_artworks_may_be_named_by_address_below_the_pictures",
    "annotations.layout": "annotations/test_layouts.py::test_apdd_totals_are_brought_to_ten_and_categories_taken_apart",
    "annotations.columns": "annotations/test_published.py::test_columns_may_be_named_whatever_they_are",
    "annotations.skip_other_files": "annotations/test_published.py::test_files_that_are_no_annotations_are_left_out_on_request",
    "annotations.split": "annotations/test_split.py::test_who_is_held_out_is_as_the_annotators_say_it_or_drawn",
    "annotations.near_copies": "annotations/test_split.py::test_one_picture_in_two_files_is_in_one_split",
    "annotations.scale_low": SCALE,
    "annotations.scale_high": SCALE,
    "annotations.level_values": SPLITS,
    "annotations.max_rejected_fraction": "annotations/test_tables.py::test_a_few_bad_rows_are_let_pass_and_more_are_not",
    "annotations.split_seed": SPLITS,
    "annotations.validation_fraction": SPLITS,
    "annotations.test_fraction": SPLITS,
    "fetch.num_workers": POOL,
    "fetch.threads": f"{LOADER}::test_so_many_objects_are_in_flight_as_there_are_threads",
    "fetch.decode_threads": f"{LOADER}::test_so_many_pictures_are_decoded_at_a_time_as_there_are_threads_for_it",
    "fetch.attempts": PATIENCE,
    "fetch.patience_seconds": PATIENCE,
    "fetch.timeout_seconds": PATIENCE,
    "fetch.max_requests_per_second": f"{SCHEDULING}::test_the_processes_of_a_run_share_its_budget_of_requests",
    "fetch.decode_memory_mb": f"{LOADER}::test_whoever_decodes_holds_his_share_of_the_budget_that_the_spec_sets",
    "fetch.max_pixels": f"{LOADER}::test_a_picture_with_more_pixels_than_the_cap_is_refused",
    "fetch.full_decode": f"{LOADER}::test_a_jpeg_is_decoded_at_full_size_where_that_is_set",
    "engine.name": f"{OPEN}::test_vllm_where_it_is_not_installed_is_refused",
    "engine.device": f"{OPEN}::test_a_device_that_is_named_is_taken_though_there_is_another",
    "engine.dtype": f"{OPEN}::test_the_network_is_opened_in_the_dtype_that_is_set",
    "engine.num_workers": POOL,
    "engine.min_workers": f"{CAPACITY}::test_nodes_are_asked_for_and_waited_for_and_the_demand_ends_with_the_wait",
    "engine.node_minutes": f"{CAPACITY}::test_nodes_that_do_not_come_end_the_wait_with_a_sentence",
    "engine.num_gpus": POOL,
    "engine.num_cpus": POOL,
    "engine.batch_size": BATCHES,
    "engine.critique": BATCHES,
    "engine.vllm": EVERY_VLLM,
    "engine.vllm.max_num_seqs": EVERY_VLLM,
    "engine.vllm.max_num_batched_tokens": EVERY_VLLM,
    "engine.vllm.gpu_memory_utilization": EVERY_VLLM,
    "engine.vllm.kv_cache_gb": f"{VLLM}::test_a_cpus_memory_for_keys_and_values_is_the_settings_unless_a_person_set_it",
    "engine.vllm.mm_processor_cache_gb": EVERY_VLLM,
    "engine.vllm.tensor_parallel_size": EVERY_VLLM,
    "engine.vllm.quantization": EVERY_VLLM,
    "engine.vllm.enforce_eager": EVERY_VLLM,
    "review.min_open_set_mass": REVIEW,
    "review.max_score_std": REVIEW,
    "review.max_domain_distance": "pipelines/test_rows.py::test_a_person_is_asked_where_a_picture_is_of_another_kind",
    "score.gates": GATES,
    **{f"gates.{name}": GATES for name in GateSpec.model_fields},
    "loss.description": WEIGHTS,
    "loss.score": WEIGHTS,
    "loss.rank": f"{STEP}::test_artworks_of_a_pass_are_ranked_against_each_other_where_that_weighs_something",
    "loss.soft_labels": f"{STEP}::test_a_histogram_of_votes_is_the_label_itself_with_the_votes_mean",
    "loss.parts": "training/test_loop.py::test_texts_are_not_needed_and_scores_are_not_either",
    "loss.sigma": f"{STEP}::test_the_raters_own_spread_makes_the_target_and_the_settings_where_it_is_not_known",
    "lora.rank": LORA,
    "lora.alpha": LORA,
    "lora.dropout": LORA,
    "vision_warmup.steps": "training/test_loop.py::test_a_network_from_nothing_first_learns_to_see_and_goes_on_too",
    "vision_warmup.columns": f"{STEP}::test_the_warm_up_teaches_the_score_and_the_columns_that_are_named",
    "fit.steps": LENGTH,
    "fit.epochs": LENGTH,
    "fit.batch_size": PASSES,
    "fit.gradient_accumulation_steps": PASSES,
    "fit.learning_rate": RATES,
    "fit.warmup_ratio": RATES,
    "fit.weight_decay": OPTIMIZER,
    "fit.beta2": OPTIMIZER,
    "fit.max_grad_norm": f"{STEP}::test_a_longer_gradient_is_scaled_down_to_the_norm_and_keeps_its_direction",
    "fit.dtype": f"{STEP}::test_products_are_of_the_dtype_and_weights_stay_whole",
    "fit.gradient_checkpointing": f"{STEP}::test_checkpointed_activations_are_computed_again_and_change_no_gradient",
    "fit.strategy": f"{STEP}::test_several_workers_share_the_network_by_the_strategy",
    "fit.checkpoint_interval": "training/test_loop.py::test_losses_fall_and_the_best_weights_can_be_loaded",
    "fit.validation_limit": f"{STEP}::test_a_validation_looks_at_so_many_artworks",
    "fit.keep_in_memory_mb": f"{STEP}::test_a_collection_is_kept_decoded_where_the_memory_for_it_suffices",
    "fit.num_workers": RESOURCES,
    "fit.num_gpus": RESOURCES,
    "fit.num_cpus": RESOURCES,
    "fit.max_failures": f"{TRAINER}::test_a_run_survives_so_many_deaths",
    "fit.seed": f"{STEP}::test_the_seed_draws_the_order_of_the_artworks_and_steps_says_how_many",
}


def settings_of(kind: type[Section], prefix: str) -> Iterator[str]:
    """A job's own settings under its name, its sections among them (are they handed on?); those of a section under the section's."""
    for name, field in kind.model_fields.items():
        yield f"{prefix}.{name}"
        if isinstance(field.annotation, type) and issubclass(field.annotation, Section):
            yield from settings_of(field.annotation, name if prefix in JOBS else f"{prefix}.{name}")


def test_each_setting_of_each_job_is_named_beside_the_test_that_sees_it():
    settings = {setting for job, kind in JOBS.items() for setting in settings_of(kind, job)}
    assert settings - SEEN_BY.keys() == set(), "they do nothing that a test would see"
    assert SEEN_BY.keys() - settings == set(), "there are no such settings"


@pytest.mark.parametrize("node", sorted(set(SEEN_BY.values())))
def test_the_test_that_sees_a_setting_is_there(node: str):
    file, _, name = node.partition("::")
    assert re.search(rf"^def {name}\(", (TESTS / file).read_text(), re.MULTILINE)
