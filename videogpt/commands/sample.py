"""Videos from prompts.

    videogpt sample "a red circle moves left" "a blue star spins" --num-samples 4 --output samples
    videogpt sample "a red circle moves left" --image circle.png
    videogpt sample --video circle.mp4 --context-frames 5
    videogpt sample --video circle.mp4 --mask box.png --model runs/shapes-tasks/pretrained

Writes NNNN-slug-sSEED.mp4 with a .json beside it for each sample, and a contact sheet; nothing is overwritten. The
same model, prompt, seed and settings give the same video. Settings that are not given are the model's own. With
--stream a name is printed with the first frame, and its file grows from then on.
"""

import argparse
import dataclasses
import sys

from videogpt.commands import add_device, add_ways


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("prompts", nargs="*", metavar="PROMPT", help="what to show; several prompts are sampled together")
    about = "further prompts, one a line, or JSON lines with prompt, seed, image, ... (.jsonl)"
    add("--prompts", dest="prompt_file", metavar="FILE", help=f"{about}; clips that --output has are not made again")
    add("--image", metavar="FILE", help="the first frame of each video; a prompt may be left out")
    add("--video", metavar="FILE", help="go on from the last frames of this one; a prompt may be left out")
    add("--context-frames", type=int, metavar="K", help="from so many of its frames, such as 5 (as many as fit)")
    add("--mask", metavar="FILE", help="draw the video anew where this picture, or film, is white")
    add("--model", default="shapes", metavar="DIR|NAME", help="model folder or shipped model (shapes)")
    add("--num-frames", type=int, metavar="N", help="frames of each video, at most the model's own number")
    add("--seed", type=int, default=0, metavar="S", help="seed of a prompt's first sample (0)")
    add("--num-samples", type=int, default=1, metavar="K", help="samples of each prompt: seeds S, S+1, ... (1)")
    add("--temperature", type=float, metavar="T", help="below 1 safer, above 1 more varied, 0 the likeliest")
    add("--top-k", type=int, metavar="K", help="draw from the K most likely codes only")
    add("--top-p", type=float, metavar="P", help="draw from the likeliest codes that add up to P")
    add("--min-p", type=float, metavar="P", help="draw from codes at least P times as likely as the likeliest")
    add("--guidance-scale", type=float, metavar="G", help="above 1 follows the prompt more closely")
    add_ways(parser)
    add("--output", default="samples", metavar="DIR", help="folder for the files (samples)")
    add("--stream", action="store_true", help="one video after the other, each playable while it is drawn (mp4)")
    add("--format", choices=("mp4", "gif", "webp"), default="mp4", help="file format (mp4)")
    add_device(parser)


def run(arguments: argparse.Namespace) -> None:
    from pathlib import Path

    from videogpt.console.progress import Progress
    from videogpt.pipeline.pipeline import Pipeline
    from videogpt.pipeline.prompt_files import read_prompts
    from videogpt.pipeline.request import Request, make_requests
    from videogpt.pipeline.sample_files import SampleWriter
    from videogpt.pipeline.streaming import stream_samples
    from videogpt_tokenizer.files.output import output_folder

    names = ("seed", "num_frames", "image", "video", "context_frames", "mask")
    asked = Request(**{name: getattr(arguments, name) for name in names})
    shown = arguments.prompt_file is None and asked.task != "text_to_video"
    requests = [dataclasses.replace(asked, text=text) for text in arguments.prompts or [""] * shown]
    from_file = read_prompts(arguments.prompt_file, asked) if arguments.prompt_file is not None else []
    if not requests and not from_file:
        raise ValueError(
            'there is no prompt: give one, for example "a red circle moves left", or a file with --prompts'
        )
    if arguments.stream and arguments.format != "mp4":
        raise ValueError(f"format is {arguments.format}, and only mp4 plays while it grows: leave it out, or --stream")
    ways = {"lane": arguments.lane, "engine": arguments.engine} | ({"batch_size": 1} if arguments.stream else {})
    pipeline = Pipeline.from_pretrained(arguments.model, device=arguments.device, **ways)
    names = ("temperature", "top_k", "top_p", "min_p", "guidance_scale")
    given = {name: getattr(arguments, name) for name in names if getattr(arguments, name) is not None}
    with Progress("sampling", unit="codes") as progress, output_folder(Path(arguments.output)) as folder:

        def tell(path: Path) -> None:
            progress.say(str(path), file=sys.stdout)

        sampling = dataclasses.replace(pipeline.model.sampling, **given)
        writer = SampleWriter(folder, file_format=arguments.format, about=pipeline.describe())
        requests, from_file = (
            make_requests(some, num_samples=arguments.num_samples) if some else [] for some in (requests, from_file)
        )
        # A file may be that of a run that was interrupted. What is not exact is drawn in its own way, and again.
        left = writer.missing(from_file, sampling) if from_file and pipeline.exact else from_file
        if len(left) < len(from_file):
            progress.say(f"{len(from_file) - len(left)} of {len(from_file)} clips are in {folder}, and not made again")
        if not requests and not left:
            return
        asked_for = {"sampling": sampling, "progress": progress.update}
        if arguments.stream:
            samples = stream_samples(pipeline, [*requests, *left], writer, begun=tell, **asked_for)
        else:
            samples = pipeline.samples([*requests, *left], **asked_for)
        for sample in samples:
            progress.advance(0, passes=f"{sample.passes} for {sample.codes} codes a clip")
            if not arguments.stream:
                tell(writer.write(sample))
    print(writer.write_contact_sheet())
