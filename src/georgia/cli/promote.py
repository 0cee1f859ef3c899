"""``georgia promote``: let a new model take the place of the one in use, if it is shown to be not worse."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from georgia.cli import console
from georgia.cli.options import ClassNamesOption, ConfigOption, JsonOption, make_config, parse_layout
from georgia.errors import InputError

if TYPE_CHECKING:
    from georgia.evaluate.promote import PromotionTest
    from georgia.model.bundle import Bundle


def run(
    models: Annotated[
        list[Path],
        typer.Argument(
            metavar="[NEW] CURRENT",
            help="Folders of the new model and of the one in use; the latter for --back.",
        ),
    ],
    data: Annotated[
        Path | None,
        typer.Option("--data", help="Labelled images: a folder per class, or a CSV with path,class."),
    ] = None,
    override: Annotated[
        bool, typer.Option("--override", help="Promote against the gate; needs --who and --reason.")
    ] = False,
    back: Annotated[
        bool, typer.Option("--back", help="Bring back the model before the last promotion.")
    ] = False,
    who: Annotated[str | None, typer.Option(help="Who decides.  [the user's name]")] = None,
    reason: Annotated[str, typer.Option(help="Why; recorded with the model.")] = "",
    margin: Annotated[
        float | None, typer.Option(help="Loss of accuracy and macro F1 that is still accepted.  [0.02]")
    ] = None,
    class_names: ClassNamesOption = None,
    db: Annotated[
        list[str] | None,
        typer.Option("--db", help="A store that is told; its people prove who they are; repeatable."),
    ] = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> int:
    """Replace the model in use by a new one, if it is shown to be not worse; exit 4 if it is not shown.

    \b
    Examples:
      georgia promote runs/second runs/in-use --data labels.csv
      georgia promote labels-models/model-002 runs/in-use
      georgia promote runs/second runs/in-use --override --who "A. Miller" --reason "new probe"
      georgia promote --back runs/in-use
    Both predict images of groups that neither learned from, or out of fold. The old one is kept.
    """  # noqa: D301 - \b keeps the lines apart in the help
    from georgia.cli.decider import Decider
    from georgia.evaluate.promote import PromoteConfig, open_both, promote
    from georgia.model.promotion import go_back

    settings = make_config(PromoteConfig, config, "promote", {"margin": margin})
    new, current = _check_request(models, data, back, override and (who or ""))
    decider = Decider.open(db or (), who)
    if new is None:
        return _show_back(decider.record(go_back(current, decider.name, reason)), as_json)
    after, before = open_both(new, current)
    test = _assess(after, before, data, class_names, settings)
    if test is None and not override:
        raise _reject_without_data(new)
    is_open = test is not None and test.is_open
    if not (is_open or override):
        return _show(test, None, as_json)
    is_overridden = override and not is_open  # one that was not needed is none
    bundle = decider.record(promote(new, current, test, decider.name, reason, is_overridden))
    return _show(test, bundle, as_json)


def _check_request(
    models: list[Path], data: Path | None, back: bool, override: str | bool
) -> tuple[Path | None, Path]:
    """Return the new model, None for --back, and the one in use; ``override`` is False, or who does it."""
    is_overridden = override is not False
    if back:
        if len(models) != 1 or data is not None or is_overridden:
            raise InputError(
                "Cannot go back",
                needs="the folder of the model in use is needed, and nothing else",
                got=f"{len(models)} folders"
                + (", --data" if data else "")
                + (", --override" if is_overridden else ""),
                hint="Example: georgia promote --back runs/in-use.",
            )
        return None, models[0]
    if len(models) != 2:
        raise InputError(
            "Cannot promote",
            needs="the folder of the new model and that of the one in use are needed",
            got=f"{len(models)} folders",
            hint="Example: georgia promote runs/second runs/in-use --data labels.csv.",
        )
    if isinstance(override, str) and not override.strip():
        raise InputError(
            "Cannot override the gate",
            needs="the name of who decides it is needed",
            got="no --who",
            hint='Example: --override --who "A. Miller" --reason "new probe".',
        )
    return models[0], models[1]


def _reject_without_data(new: Path) -> InputError:
    return InputError(
        "Cannot promote",
        needs="labelled images that neither model learned from are needed",
        got=f"no --data, and no out-of-fold predictions in {str(new)!r}",
        hint="Give --data labels.csv, or --override with --who and --reason.",
    )


def _assess(
    after: Bundle, before: Bundle, data: Path | None, class_names: str | None, settings: Any
) -> PromotionTest | None:
    """Return what the gate says; None where there is nothing to test with."""
    from georgia.catalog.read import read_catalog
    from georgia.evaluate.out_of_fold import OUT_OF_FOLD, OUT_OF_FOLD_FILE, find_doubted
    from georgia.evaluate.promote import assess_promotion

    if data is None and OUT_OF_FOLD not in after.metadata:
        return None
    with console.ConsoleProgress() as progress:
        if data is None:
            where = str(after.model_path.with_name(OUT_OF_FOLD_FILE).absolute())
            return assess_promotion(after, before, (), settings, progress, where)
        layout = parse_layout(class_names, None)
        catalog = read_catalog(data, **layout, verify=False, is_for_training=False, progress=progress)
        where, doubted = str(data.absolute()), find_doubted(data)
        return assess_promotion(after, before, catalog.records, settings, progress, where, doubted)


def _show(test: PromotionTest | None, bundle: Bundle | None, as_json: bool) -> int:
    promotion = dict(bundle.metadata["promotion"]) if bundle is not None else {}
    decision = str(promotion.get("decision", "refused"))
    if as_json:
        figures = test.to_json_dict() if test is not None else None
        console.show_json({"decision": decision, "promotion": promotion or None, "figures": figures})
        return console.DONE if bundle is not None else console.GATE_FAILED
    if test is not None:
        console.show_line(test.summary())
    if bundle is None:
        console.show_line("refused: the model in use stays.")
        return console.GATE_FAILED
    console.show_line(
        f"{decision}: {promotion['to']['name']} takes the place of {promotion['from']['name']}; "
        "a monitor that runs takes it between two frames."
    )
    return console.DONE


def _show_back(bundle: Bundle, as_json: bool) -> int:
    promotion = dict(bundle.metadata["promotion"])
    if as_json:
        console.show_json({"decision": "back", "promotion": promotion, "figures": None})
    else:
        console.show_line(f"back: {bundle.name} takes the place of {promotion['from']['name']} again.")
    return console.DONE
