"""What a space suggests, and the trials made of it."""

from __future__ import annotations

from typing import Any

import optuna
import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

from study.config.hyperparameters import Hyperparameters, Scalar
from study.config.search_config import ReplicatesSpec, SearchSpec
from study.config.search_space import Choice, Condition, Constant, Domain, Integer, Parameter, Uniform
from study.config.study_config import StudySpec
from study.designs.space import constants, is_active
from study.search.space import distribution, suggest, trial_config, without_values

optuna.logging.set_verbosity(optuna.logging.ERROR)


def parameter(name: str, domain: Domain, **when: Scalar | tuple[Scalar, ...]) -> Parameter:
    asked = {parent: values if isinstance(values, tuple) else (values,) for parent, values in when.items()}
    return Parameter(
        name=name,
        domain=domain,
        when=tuple(Condition(parameter=parent, values=values) for parent, values in asked.items()),
    )


def choice(*values: Scalar) -> Choice:
    return Choice(values=values)


OPTIMIZER = parameter("optimizer", choice("sgd", "adam"))
MOMENTUM = parameter("momentum", Uniform(low=0.0, high=0.9), optimizer="sgd")
INIT = parameter("init", choice("kaiming", "xavier", "imagenet"))


def spec_of(*space: Parameter, **fields: Any) -> StudySpec:
    return StudySpec(name="x", space=space, **fields)


def random_study(seed: int = 0) -> optuna.Study:
    return optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=seed))


@pytest.mark.parametrize(
    "domain, expected",
    [
        (choice(10, 18), CategoricalDistribution((10, 18))),
        (Constant(value=True), CategoricalDistribution((True,))),
        (Uniform(low=0.0, high=1.0), FloatDistribution(0.0, 1.0)),
        (Uniform(low=1e-4, high=1.0, log=True), FloatDistribution(1e-4, 1.0, log=True)),
        (Uniform(low=0.1, high=0.5, step=0.1), FloatDistribution(0.1, 0.5, step=0.1)),
        (Uniform(low=0.0, high=1.0, step=0.3), FloatDistribution(0.0, 0.9, step=0.3)),
        (Integer(low=2, high=9), IntDistribution(2, 9)),
        (Integer(low=2, high=9, step=3), IntDistribution(2, 8, step=3)),
        (Integer(low=2, high=9, log=True), IntDistribution(2, 9, log=True)),
    ],
)
def test_a_distribution_is_optunas_form_of_the_domain(domain: Domain, expected: object) -> None:
    assert distribution(parameter("any", domain)) == expected


def test_stepped_ranges_reach_both_ends() -> None:
    study = random_study()
    space = (
        parameter("weight_decay", Uniform(low=0.1, high=0.3, step=0.1)),
        parameter("max_epochs", Integer(low=2, high=9, step=3)),
    )
    drawn = [suggest(study.ask(), space) for _ in range(60)]
    assert {round(float(point["weight_decay"]), 9) for point in drawn} == {0.1, 0.2, 0.3}
    assert {point["max_epochs"] for point in drawn} == {2, 5, 8}


def test_choices_come_back_with_their_own_type() -> None:
    study = random_study()
    values = (True, "true", 2, 2.5)
    drawn = {repr(suggest(study.ask(), [parameter("any", choice(*values))])["any"]) for _ in range(60)}
    assert drawn == {"True", "'true'", "2", "2.5"}


def test_optuna_remembers_only_what_exists() -> None:
    study = random_study()
    trial = study.ask({"optimizer": CategoricalDistribution(("sgd", "adam"))})
    expected = {"optimizer"} | ({"momentum"} if trial.params["optimizer"] == "sgd" else set())
    suggest(trial, [OPTIMIZER, MOMENTUM])
    assert set(trial.params) == expected


def test_constants_are_not_suggested_but_decide_conditions() -> None:
    space = [parameter("optimizer", Constant(value="sgd")), MOMENTUM]
    assert constants(space) == {"optimizer": "sgd"}
    assert set(suggest(random_study().ask(), space)) == {"momentum"}
    assert spec_of(*space).searched() == ("momentum",)


def test_a_parameter_is_active_where_all_conditions_hold() -> None:
    child = parameter("momentum", choice(0.5), optimizer=("sgd", "rmsprop"), channels_last=True)
    assert is_active(child, {"optimizer": "sgd", "channels_last": True})
    assert not is_active(child, {"optimizer": "sgd", "channels_last": False})
    assert not is_active(child, {"optimizer": "sgd", "channels_last": 1})
    assert not is_active(child, {"optimizer": "adam", "channels_last": True})
    assert not is_active(child, {"optimizer": "sgd"})


def test_a_trial_overlays_defaults_constants_and_params() -> None:
    depth, thrice = parameter("depth", Constant(value=34)), ReplicatesSpec(count=3)
    spec = spec_of(OPTIMIZER, depth, trial=Hyperparameters(max_epochs=3), replicates=thrice)
    config = trial_config(spec, {"optimizer": "sgd"}, point=5, replicate=2)
    assert (config.depth, config.optimizer, config.max_epochs, config.batch_size) == (34, "sgd", 3, 64)
    assert (config.point, config.replicate) == (5, 2)


def test_an_int_param_becomes_the_real_number_it_means() -> None:
    spec = spec_of(parameter("learning_rate", choice(1.0)))
    assert type(trial_config(spec, {"learning_rate": 1}, point=0).learning_rate) is float


def test_a_constant_momentum_counts_only_for_sgd() -> None:
    for spec in (
        spec_of(OPTIMIZER, trial=Hyperparameters(momentum=0.5)),
        spec_of(OPTIMIZER, parameter("momentum", Constant(value=0.5))),
    ):
        assert trial_config(spec, {"optimizer": "sgd"}, point=0).momentum == 0.5
        assert trial_config(spec, {"optimizer": "adam"}, point=0).momentum is None


def test_the_seed_belongs_to_the_replicate_and_not_to_the_point() -> None:
    spec = spec_of(OPTIMIZER, replicates=ReplicatesSpec(seeds=(7, 0)))

    def seed(spec: StudySpec, optimizer: str, point: int, replicate: int) -> int:
        return trial_config(spec, {"optimizer": optimizer}, point=point, replicate=replicate).seed

    assert seed(spec, "sgd", 0, 1) == seed(spec, "adam", 7, 1)
    assert seed(spec, "sgd", 0, 1) != seed(spec, "sgd", 0, 0)
    assert seed(spec, "sgd", 0, 1) == seed(spec_of(OPTIMIZER), "sgd", 0, 0), "its number counts, not its place"
    assert seed(spec, "sgd", 0, 0) != seed(spec.model_copy(update={"search": SearchSpec(seed=1)}), "sgd", 0, 0)


@pytest.mark.parametrize("params", [{"depth": 19}, {"depht": 18}, {"momentum": 1.0}])
def test_a_trial_refuses_what_is_not_admitted(params: dict[str, Scalar]) -> None:
    with pytest.raises(ValueError):
        trial_config(spec_of(OPTIMIZER), params, point=0)


def test_removing_a_value_removes_what_depends_on_it() -> None:
    spec = spec_of(
        INIT,
        parameter("depth", choice(18, 34), init=("imagenet", "xavier")),
        parameter("optimizer", choice("sgd", "adam"), init="imagenet"),
        MOMENTUM,
    )
    left = without_values(spec, "init", ["imagenet"])
    assert left.space == (
        parameter("init", choice("kaiming", "xavier")),
        parameter("depth", choice(18, 34), init=("xavier",)),
    )
    assert len(spec.space) == 4
    assert without_values(spec, "init", ["orthogonal"]) == spec


def test_removing_everything_is_an_error() -> None:
    everything = ["kaiming", "xavier", "imagenet"]
    with pytest.raises(ValueError, match=r"init must keep at least one value, but all of \['kaiming', 'xavier', 'imag"):
        without_values(spec_of(INIT), "init", everything)
    with pytest.raises(ValueError, match="init must keep its value, but it is fixed at 'imagenet', which is removed"):
        without_values(spec_of(trial=Hyperparameters(init="imagenet")), "init", ["imagenet"])
    with pytest.raises(ValueError, match="init must keep its value, but it is fixed at 'imagenet', which is removed"):
        without_values(spec_of(parameter("init", Constant(value="imagenet"))), "init", ["imagenet"])
