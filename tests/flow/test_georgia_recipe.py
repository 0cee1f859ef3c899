"""The source study's recipe as a user runs it: a dry run on synthetic images, without weights to load."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

pytest.importorskip("keras")
SIZE_PX = 64


@pytest.mark.slow
@pytest.mark.timeout(2400)  # a busy machine takes long over ResNet-101
def test_georgia_recipe_agrees_in_keras_and_onnx(
    synthetic_crops: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    import keras
    import onnxruntime

    from georgia.cli import main
    from georgia.export.onnx_file import FEATURES

    run = tmp_path / "run"
    args = ["train", synthetic_crops, "--out", run, "--recipe", "georgia", "--weights", "none", "--rehearse"]
    # The study's 224 px take ten times as long and tell no more; foreign material is tested with other nets.
    args += ["--set", f"size_px={SIZE_PX}", "--set", "foreign_material=none"]
    assert main([*map(str, args), "--json"]) == 0
    out, err = capsys.readouterr()
    result = json.loads(out)
    assert "34 trainable base layers from conv5_block1_1_conv on" in err
    assert result["epochs"] == 3
    names = sorted(path.name for path in run.iterdir())
    (stem,) = {Path(name).stem for name in names if name.startswith("GAweights_")}
    assert re.fullmatch(r"GAweights_\d{4}-\d\d-\d\d_\d\d-\d\d-\d\d", stem)
    assert {f"{stem}.h5", f"{stem}.onnx", "GAmetrics_plot.png", "GAFinalTestResults.txt"} <= set(names)
    assert {"GAfinal_confusion_matrix.png", "bundle.json", "report.html", "history.csv"} <= set(names)
    # As others open them: Keras alone, fed as the study feeds it; ONNX Runtime alone, fed with pixels.
    net = keras.models.load_model(run / f"{stem}.h5")
    session = onnxruntime.InferenceSession(str(run / f"{stem}.onnx"))
    inside = keras.Model(net.inputs[0], [net.outputs[0], net.get_layer(FEATURES).output])
    differences = []
    for path in sorted(synthetic_crops.glob("*/*.png"))[::8]:
        image = Image.open(path).convert("RGB")
        # At the net's own size no resize stands between the two.
        pixels = np.asarray(image.resize((SIZE_PX, SIZE_PX)), np.uint8)
        caffe = pixels[np.newaxis, :, :, ::-1].astype(np.float32) - (103.939, 116.779, 123.68)
        p_last, features = inside.predict(caffe.astype(np.float32), verbose=0)
        both, theirs = session.run(["probabilities", "features"], {"image": pixels[np.newaxis]})
        # Three epochs from random weights can drive the sigmoid to its end: its inputs are compared too.
        apart = np.abs(features - theirs).max() / np.abs(theirs).max()
        differences.append((np.abs(both[0] - (1 - p_last[0, 0], p_last[0, 0])).max(), apart))
    probability, feature = np.max(differences, axis=0)
    print(f"largest differences: probability {probability:.1e}, features {feature:.1e} of the largest")
    assert 0 < feature <= 1e-4
    assert probability <= 1e-4
