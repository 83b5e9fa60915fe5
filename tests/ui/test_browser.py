"""MLflow's UI and Optuna's dashboard in headless Chromium, as `study ui` serves them: what a person sees of a study."""

from __future__ import annotations

from typing import TYPE_CHECKING

from browser_walks import (
    NAMES,
    axes,
    compare_best,
    description,
    open_artifact,
    open_charts,
    open_compared_metric,
    open_trials,
    open_view,
    plots,
    run_names,
    unfold,
    visible_headers,
)
from played_study import NAME, SEARCHED

from study.records import TrialState
from study.storage.study_storage import StudyStorage
from tracking.content.ui_views import TREE, view_path

if TYPE_CHECKING:
    from browser_kit import Served
    from playwright.sync_api import Page

pytest_plugins = ("browser_kit",)

COLUMNS = ["Run Name", "Created", "best.val_auc", "study.state", *SEARCHED]


def _ranked(ui: Served) -> list[str]:
    """Return the trials' names by their value in the storage, the best first."""
    records = [record for record in StudyStorage.open(ui.study).records() if record.value is not None]
    return [f"trial {record.trial:04d}" for record in sorted(records, key=lambda record: -(record.value or 0.0))]


def assert_columns(page: Page) -> None:
    """Check the columns that can be seen; on a first visit MLflow's assistant covers the last ones."""
    headers = visible_headers(page)[: len(COLUMNS)]
    assert len(headers) >= 6
    assert headers == COLUMNS[: len(headers)]


def test_the_url_opens_the_ranking_with_searched_parameters_and_the_best_metric_unclicked(
    mlflow_ui: Served, stranger: Page
) -> None:
    page = stranger
    page.goto(mlflow_ui.url)
    page.locator(NAMES).nth(11).wait_for()
    assert_columns(page)
    assert run_names(page) == _ranked(mlflow_ui)
    first = page.locator(".ag-row[row-index='0']")
    best = StudyStorage.open(mlflow_ui.study).record(int(_ranked(mlflow_ui)[0].split()[1]))
    for name in ("depth", "optimizer"):
        assert first.locator(f"[col-id='params.`{name}`']").inner_text() == str(best.params[name])
    shown = first.locator("[col-id='metrics.`best.val_auc`']").inner_text()
    assert f"{best.value}".startswith(shown.rstrip("…."))
    assert page.get_by_text("Model training").evaluate("one => getComputedStyle(one).color") != page.get_by_text(
        "GenAI"
    ).evaluate("one => getComputedStyle(one).color")


def test_trials_are_grouped_under_their_study(mlflow_ui: Served, page: Page) -> None:
    open_view(page, mlflow_ui, TREE)
    assert run_names(page) == [NAME]
    assert_columns(page)
    unfold(page)
    names = run_names(page)
    assert names == [NAME, *sorted(names[1:], reverse=True)]
    assert len(names) == 13
    left = [page.locator(NAMES, has_text=name).first.bounding_box() for name in names[:2]]
    assert left[0] is not None
    assert left[1] is not None
    assert left[1]["x"] > left[0]["x"] + 10, "a trial stands further in than its study"


def test_the_runs_without_a_view_are_one_row_a_study_and_the_menu_has_the_views(
    mlflow_ui: Served, stranger: Page
) -> None:
    page = stranger
    page.goto(mlflow_ui.address + view_path(mlflow_ui.runs.experiment_id).partition("&")[0])
    page.locator(NAMES).first.wait_for()
    assert run_names(page) == [NAME]
    page.get_by_test_id("saved-views-trigger").click()
    items = page.locator("[data-testid^='saved-views-item-']")
    items.first.wait_for()
    assert items.all_inner_texts() == ["Trials, the best first", "Trials under their study"]
    items.first.click()
    page.locator(NAMES, has_text="trial 0000").wait_for()
    assert run_names(page) == _ranked(mlflow_ui)


def test_charts_overlay_the_curves_beside_parallel_coordinates(mlflow_ui: Served, page: Page) -> None:
    open_charts(page, mlflow_ui, 12)
    across = page.locator(".parcoords .label").all_text_contents()
    assert set(across) == {"depth", "optimizer", "learning_rate", "augmentation", "best.val_auc"}
    cards = page.get_by_test_id("experiment-view-compare-runs-card")
    assert cards.nth(0).get_by_text("val_auc", exact=True).count() == 1
    assert set(plots(page)[0]) == set(_ranked(mlflow_ui))


def test_compare_shows_parallel_coordinates_and_overlaid_curves(mlflow_ui: Served, page: Page) -> None:
    compare_best(page, mlflow_ui, 5)
    chosen = _ranked(mlflow_ui)[:5]
    assert {*axes(page)} >= {"augmentation", "depth", "learning_rate", "val_auc"}
    text = page.locator("body").inner_text()
    assert all(name in text for name in chosen)
    open_compared_metric(page, "val_auc")
    (curves,) = plots(page)
    assert {name.split(" (")[0] for name in curves} == set(chosen)


def test_a_runs_page_shows_the_roc_and_the_checkpoint(mlflow_ui: Served, page: Page) -> None:
    best = int(_ranked(mlflow_ui)[0].split()[1])
    frame = open_artifact(page, mlflow_ui.run(best), "pictures.html")
    titles = frame.locator("h2").all_inner_texts()
    assert any(title.startswith("ROC curve: AUC 0.") for title in titles)
    assert titles[0].startswith("Learning curves")
    frame.locator(".js-plotly-plot .main-svg").nth(8).wait_for()
    page.get_by_test_id("artifact-tree-node").get_by_text("checkpoint", exact=True).click()
    page.get_by_test_id("artifact-tree-node").get_by_text("checkpoint.json", exact=True).wait_for()


def test_the_studys_page_tells_its_story_and_has_the_curves_of_all_trials(mlflow_ui: Served, page: Page) -> None:
    links = description(page, mlflow_ui.run()).locator("a")
    top = [int(name.split()[1]) for name in _ranked(mlflow_ui)[:5]]
    wanted = {mlflow_ui.run(trial).partition("/#")[2] for trial in top}
    assert {(link.get_attribute("href") or "").partition("#")[2] for link in links.all()} >= wanted
    frame = open_artifact(page, mlflow_ui.run(), "learning_curves.html")
    assert frame.locator("h2").all_inner_texts() == ["val_auc", "val_loss", "train_loss"]
    frame.locator(".js-plotly-plot").nth(2).locator(".main-svg").first.wait_for()
    assert [sorted(names, key=lambda name: int(name.split()[1])) for names in plots(frame)] == [
        [f"trial {trial}" for trial in range(12)]
    ] * 3


def test_optunas_dashboard_lists_trials_with_states_values_and_links(optuna_ui: Served, page: Page) -> None:
    open_trials(page, optuna_ui, 7)
    states = {TrialState.COMPLETE: "Complete", TrialState.PRUNED: "Pruned", TrialState.FAILED: "Fail"}
    records = StudyStorage.open(optuna_ui.study).records()
    text = page.locator("body").inner_text()
    for record in records:
        assert f"Trial {record.trial}\n{states[record.state]}" in text
    last = records[7].history[-1]
    assert f"{last.epoch} {last.values['val_auc']}" in text
    runs = optuna_ui.runs
    link = f"http://127.0.0.1:5000/#/experiments/{runs.experiment_id}/runs/{runs.trials[7]}"
    assert f"mlflow_run {link}" in text
    assert page.get_by_role("link", name="This trial in MLflow").get_attribute("href") == link


def test_optunas_dashboard_says_that_it_changes_nothing(optuna_ui: Served, page: Page) -> None:
    before = optuna_ui.study.journal.read_bytes()
    open_trials(page, optuna_ui, 3)
    page.get_by_test_id("EditIcon").or_(page.get_by_title("Edit note")).first.click()
    page.locator("textarea").first.fill("mine")
    page.get_by_role("button", name="Save").click()
    page.get_by_text("nothing can be changed").last.wait_for()
    assert optuna_ui.study.journal.read_bytes() == before
