"""The sweep characters: arms of equal depth to head 1, and the text that is named."""

import hashlib

from sweeps.catalogue.characters import characters


def test_arms_have_a_full_trunk_and_the_published_names():
    for scale in characters.scales:
        runs = characters(scale)
        arms = {run.objective.arm for run in runs}
        assert arms == {"n1", "n4_added_w0.3", "chain2_added", "chain3_shared_added"}
        for run in runs:
            layers, first = run.model.shape.layers, run.objective.heads()[0]
            assert run.objective.trunk_layers(layers) + first.layers == layers
            assert run.task.evaluation_length == run.training.context


def test_the_text_of_the_environment_is_trained_on(monkeypatch, tmp_path):
    text = tmp_path / "input.txt"
    text.write_text("To be, or not to be, that is the question. " * 50)
    generated = characters("quick")[0].task.corpus_digest
    monkeypatch.setenv("SYNTH_TEXT", str(text))
    (digest,) = {run.task.corpus_digest for run in characters("paper")}
    assert digest == hashlib.sha256(text.read_bytes()).hexdigest() != generated
