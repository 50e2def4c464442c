"""What is in images, without PyTorch and flyweight: python predict.py cat.png ...  (numpy, Pillow, onnxruntime)."""

import json
import sys
from pathlib import Path

import numpy as np
import onnxruntime
from PIL import Image, ImageOps

TURNS = [Image.Transpose(number) for number in (0, 3, 1, 5, 4, 6, 2)]  # what EXIF's orientations 2 to 8 ask for


def pixels(path, looks):
    """An image as the network takes it: (height, width, channels) uint8."""
    if Path(path).exists() and not Path(path).is_file():
        raise OSError("it is not a regular file")  # a pipe would be waited for without end
    with Image.open(path) as image:
        image.draft(None, (2 * max(looks["size"]),) * 2)  # a large JPEG is decoded at a fraction of its size
        image.load()
        turn = image.getexif().get(0x0112, 1)
        if image.mode.startswith("I;16"):
            grey, clear = np.array(image).astype(np.uint16), image.info.get("transparency")
            image = Image.fromarray(np.where(grey == clear, 255, grey >> 8).astype(np.uint8))
        elif image.has_transparency_data:
            image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image.convert("RGBA"))
        image = image if image.mode == "L" else image.convert("RGB")
    image = image.transpose(TURNS[turn - 2]) if turn in range(2, 9) else image
    ways = {"crop": ImageOps.fit, "squash": Image.Image.resize, "pad": lambda *of: ImageOps.pad(*of, color="#808080")}
    image = ways[looks["resize"]](image, tuple(looks["size"][::-1]), Image.Resampling.BICUBIC)
    return np.array(image.convert("L" if looks["channels"] == "grey" else "RGB")).reshape(*looks["size"], -1)


if __name__ == "__main__":
    beside = Path(__file__).with_name
    about = json.loads(beside("export.json").read_text(encoding="utf-8"))
    looks, classes = about["preprocessing"], about["classes"]
    file = next(name for name in ("model_pixels.onnx", "model.onnx", "model_int8.onnx") if beside(name).exists())
    session = onnxruntime.InferenceSession(beside(file), providers=["CPUExecutionProvider"])
    failed = False
    for path in sys.argv[1:] or sys.exit("name images: python predict.py cat.png ..."):
        try:
            images = pixels(path, looks)[None]
        except (OSError, ValueError, Image.DecompressionBombError) as error:
            print(f"{path}: {error}", file=sys.stderr)
            failed = True
            continue
        if file != "model_pixels.onnx":
            images = ((images / 255 - looks["mean"]) / looks["std"]).astype(np.float32).transpose(0, 3, 1, 2)
        (numbers,) = session.run(None, {session.get_inputs()[0].name: images})[0].astype(float)
        scaled = np.log(numbers + 1e-38) if file == "model_pixels.onnx" else numbers / about["temperature"]
        shares = np.exp(scaled - scaled.max()) / np.exp(scaled - scaled.max()).sum()
        told = ", ".join(f"{classes[place]} {100 * shares[place]:.2f} %" for place in np.argsort(-shares)[:3])
        print(path, f"none of my classes ({told})" if shares.max() < (about["threshold"] or 0) else told, sep="  ")
    if failed:
        sys.exit(3)
