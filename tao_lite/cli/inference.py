"""The inference command."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from tao_lite.cli.arguments import PATH, spec_file
from tao_lite.cli.options import common, network, options
from tao_lite.cli.session import start

if TYPE_CHECKING:
    from tao_lite.run import Run, Summary
    from tao_lite.spec.load import Spec


@click.command()
@spec_file(required=False)
@network
@click.option("-i", "--image", type=PATH, help="One image.")
@click.option("-d", "--image_dir", type=PATH, help="Folder of images, at any depth.")
@click.option("-b", "--batch_size", type=click.IntRange(1), help="Images per step.  [default: the spec's]")
@click.option("-cm", "--classmap", type=PATH, help="Accepted for TAO's sake; a checkpoint knows its classes.")
@click.option("--embeddings", is_flag=True, help="Write what the head reads of each image to embeddings.npz too.")
@click.option(
    "--neighbours", type=PATH, help="Folder of images: write the nearest to each image to neighbours.csv too."
)
@click.option("--num_neighbours", type=click.IntRange(1), default=5, help="How many of them.  [default: 5]")
@click.option("--heat_maps", is_flag=True, help="Write each image under what speaks for its class to heat_maps/ too.")
@click.option("--select", type=click.IntRange(1), help="How many images to choose for labelling: selected.csv, .html.")
@click.option(
    "--by",
    type=click.Choice(["UNCERTAINTY", "DIVERSITY", "BOTH"]),
    help="What --select chooses by: unsure ones, different ones, or both.  [default: BOTH]",
)
@common
def inference(spec_file: Path | None, model: Path | None, **rest: Any) -> int:
    """Classify images: the class and its probability for each, in result.csv."""
    has_embeddings, neighbours, number = (rest.pop(name) for name in ("embeddings", "neighbours", "num_neighbours"))
    has_heat_maps = rest.pop("heat_maps")
    select, by = rest.pop("select"), rest.pop("by")
    if by and not select:
        raise click.UsageError("--by says how --select chooses; give --select NUMBER too")
    images = [path for path in (rest.pop("image"), rest.pop("image_dir")) if path]
    if len(images) != 1:
        raise click.UsageError("give one image with -i or a folder with -d")
    if classmap := rest.pop("classmap"):
        click.echo(f"-cm {classmap} is not needed: the checkpoint knows its classes", err=True)

    def stage(spec: "Spec", run: "Run") -> "Summary":
        from tao_lite.stages.inference import Extras
        from tao_lite.stages.inference import inference as inference_stage
        from tao_lite.stages.select.select import By, Wish

        extras = Extras(
            has_embeddings=has_embeddings,
            neighbours=neighbours,
            num_neighbours=number,
            wish=Wish(number=select, by=By(by or "BOTH")) if select else None,
            has_heat_maps=has_heat_maps,
        )
        return inference_stage(spec, run, images[0], extras)

    fields = {"eval_config.model_path": model, "eval_config.batch_size": rest.pop("batch_size")}
    return start("inference", stage, options(rest, fields), spec_file=spec_file, model=model)
