"""What timm says of exports: run in an environment that has timm, for it brings torchvision, which flyweight does not.

``python timm_asked.py FOLDER``: each folder in it is an export, with its inputs and PyTorch's logits beside it.
"""

import sys
from pathlib import Path

import numpy as np
import timm
import torch

import flyweight.timm

for folder in sorted(Path(sys.argv[1]).iterdir()):
    asked = np.load(folder / "asked.npz")
    inputs, expected = torch.from_numpy(asked["inputs"]), asked["logits"]

    def same(model, inputs=inputs, expected=expected):
        with torch.inference_mode():
            said = model.eval()(inputs).numpy()
        assert said.shape == expected.shape, (said.shape, expected.shape)
        assert (said.argmax(1) == expected.argmax(1)).all()
        assert np.abs(said - expected).max() < 1e-4, np.abs(said - expected).max()

    network = timm.create_model(f"local-dir:{folder}", pretrained=True)
    same(network)
    looks = timm.data.resolve_model_data_config(network)
    channels = inputs.shape[1]
    assert tuple(looks["input_size"]) == inputs.shape[1:]
    assert (looks["crop_pct"], looks["interpolation"]) == (1.0, "bicubic")
    assert network.pretrained_cfg["label_names"][0]
    # an image of this size goes in as it is
    pixels = np.arange(np.prod(inputs.shape[1:]), dtype=np.uint8).reshape(*inputs.shape[2:], channels)
    if channels == 3:
        from PIL import Image

        shown = timm.data.create_transform(**looks, is_training=False)(Image.fromarray(pixels)).numpy()
        mean, std = (np.reshape(looks[key], (-1, 1, 1)) for key in ("mean", "std"))
        assert np.abs(shown - (pixels.transpose(2, 0, 1) / 255 - mean) / std).max() < 1e-5
    # the usual way to another set of classes: all but the last layer is kept
    other = timm.create_model(f"local-dir:{folder}", pretrained=True, num_classes=7)
    with torch.inference_mode():
        map_ = network.forward_features(inputs)
        assert torch.equal(other.eval().forward_features(inputs), map_)
        assert torch.equal(network.forward_head(map_), network(inputs))
        assert other(inputs).shape == (len(inputs), 7)
        bare = timm.create_model(f"local-dir:{folder}", pretrained=True, num_classes=0).eval()(inputs)
        assert bare.shape == (len(inputs), network.num_features)
    if channels == 3:
        grey = timm.create_model(f"local-dir:{folder}", pretrained=True, in_chans=1).eval()
        assert grey(inputs[:, :1]).shape == expected.shape
    # those that ship, by name
    if folder.name in {path.name for path in (Path(flyweight.__file__).parent / "zoo").iterdir()}:
        same(timm.create_model(f"{network.pretrained_cfg['architecture']}.{folder.name}", pretrained=True))
    sys.stdout.write(f"{folder.name} agrees\n")

names = timm.list_models("flyweight_*")
assert {"flyweight_nano", "flyweight_table"} <= set(names), names
rows = timm.create_model("flyweight_table", table={"blocks": [[{"width": 8, "stride": 2}]]}, num_classes=3)
assert rows(torch.zeros(2, 3, 16, 16)).shape == (2, 3)
