"""Promises, each taken out of the program on its own by one edit, and the tests that must miss it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Mutation:
    """An edit that breaks a promise.

    Attributes:
        name: of it, in a word or two.
        promise: that it breaks.
        file: below ``flyweight/``.
        old: text that is in the file once.
        new: text in its place.
        tests: below ``tests/``, as pytest names them; each must pass before the edit, and one must fail after it.
    """

    name: str
    promise: str
    file: str
    old: str
    new: str
    tests: tuple[str, ...]


MUTATIONS = (
    # files
    Mutation(
        "flush-file",
        "a file is on the disk before its name is",
        "files.py",
        "            file.write(content)\n            flush(file)\n",
        "            file.write(content)\n",
        ("test_files.py::test_a_name_is_given_to_what_is_on_the_disk",),
    ),
    Mutation(
        "flush-name",
        "a file's name is on the disk before the next one is written",
        "files.py",
        "        flush_folder(path.parent)\n    except OSError as error:\n        raise kind(\n",
        "        pass\n    except OSError as error:\n        raise kind(\n",
        ("test_files.py::test_a_name_is_given_to_what_is_on_the_disk",),
    ),
    Mutation(
        "in-place",
        "the old file stays whole until the new one is",
        "files.py",
        "        temporary.replace(path)\n",
        "        path.write_bytes(temporary.read_bytes())\n        temporary.unlink()\n",
        ("test_files.py::test_a_name_is_given_to_what_is_on_the_disk",),
    ),
    Mutation(
        "old-folder",
        "a folder that cannot be replaced comes back",
        "files.py",
        "old.rename(folder)",
        "pass",
        ("test_files.py::test_a_folder_that_cannot_be_replaced_stays",),
    ),
    Mutation(
        "seal",
        "a flipped bit of a checkpoint is noticed",
        "files.py",
        "    return content if hashlib.sha256(content).digest() == digest else None\n",
        "    return content if len(digest) == 32 else None\n",
        ("runs/test_run_folder.py::test_a_flipped_bit_is_noticed_and_the_checkpoint_before_it_is_used",),
    ),
    Mutation(
        "regular-file",
        "a pipe or a device in place of a file is not waited for",
        "files.py",
        "    if not stat.S_ISREG(status.st_mode):\n",
        "    if stat.S_ISDIR(status.st_mode):\n",
        # a device; a pipe would be waited for without end
        ("runs/test_card.py::test_a_card_that_is_no_file_is_one_line_and_no_hang[<lambda>]",),
    ),
    # runs
    Mutation(
        "lock",
        "two trainings do not share a run folder",
        "training/loop.py",
        "    with run.locked():\n        return",
        "    if True:\n        return",
        ("training/test_train.py::test_a_run_folder_belongs_to_one_training",),
    ),
    Mutation(
        "newest",
        "of the checkpoints the newest are kept",
        "runs/folder.py",
        "        for old in self._checkpoints()[:-keep]:\n",
        "        for old in self._checkpoints()[keep:]:\n",
        ("runs/test_run_folder.py::test_the_newest_checkpoint_counts_and_old_ones_go",),
    ),
    Mutation(
        "own-files",
        "a file of the user's beside the checkpoints is not deleted",
        "runs/folder.py",
        r'''_CHECKPOINT = r"epoch-\d{4,}-step-\d{6,}\.pt"''',
        r'''_CHECKPOINT = r".*\.pt"''',
        ("runs/test_run_folder.py::test_what_is_not_a_checkpoint_of_ours_is_neither_deleted_nor_loaded",),
    ),
    Mutation(
        "card-checksum",
        "a changed digit of a card is noticed",
        "runs/card.py",
        '    if "checksum" in content and content["checksum"] != _checksum(content):\n',
        '    if "checksum" in content and content["checksum"] == "":\n',
        ("runs/test_card.py::test_a_flipped_digit_in_a_card_is_noticed",),
    ),
    Mutation(
        "weights-checksum",
        "weights of another run or damaged ones are refused",
        "runs/card.py",
        "    return hashlib.sha256(content).hexdigest() == card.sha256\n",
        "    return bool(content)\n",
        ("runs/test_card.py::test_weights_that_do_not_match_their_hash_are_refused",),
    ),
    Mutation(
        "cast",
        "whole numbers are not cast into weights",
        "runs/fitting.py",
        "        if not floats and given.dtype != own.dtype:\n",
        "        if given.is_complex() != own.is_complex():\n",
        ("runs/test_card.py::test_weights_of_another_kind_are_refused_and_not_cast",),
    ),
    # code and paths of others
    Mutation(
        "allow-code",
        "a received run folder runs no code unasked",
        "runs/code.py",
        "    if not allowed.is_allowed(found.digest):\n",
        "    if not found.digest:\n",
        ("runs/test_code.py::test_a_received_run_runs_nothing_until_its_user_allows_it",),
    ),
    Mutation(
        "pickle",
        "a pickle of a data set calls nothing but what makes an array",
        "data/cifar10/official.py",
        '        raise pickle.UnpicklingError(f"it wants to call {module}.{name}, which no batch of CIFAR-10 needs")\n',
        "        return super().find_class(module, name)\n",
        ("data/test_cifar10_damage.py::test_a_malicious_pickle_is_refused",),
    ),
    Mutation(
        "path",
        "a name in a search's database never becomes a path",
        "search/storage.py",
        r"""    if not isinstance(name, str) or not re.fullmatch(r"[\w-][\w.-]*", name):""" + "\n",
        "    if not isinstance(name, str):\n",
        ("search/test_kept.py::test_a_name_that_no_search_writes_never_becomes_a_path",),
    ),
    Mutation(
        "escape",
        "nothing that a terminal obeys is shown",
        "text.py",
        '    return "".join(letter if letter.isprintable() else "\\ufffd" for letter in text)\n',
        "    return text\n",
        ("cli/test_console.py::test_nothing_that_a_terminal_obeys_is_shown",),
    ),
    Mutation(
        "formula",
        "no cell of a table starts a formula",
        "text.py",
        """    return f"'{text}" if text.startswith(("=", "+", "-", "@")) else text\n""",
        "    return text\n",
        ("evaluation/test_evaluate.py::test_files_are_safe_to_open_in_a_spreadsheet",),
    ),
    Mutation(
        "page",
        "a page shows what others wrote and obeys none of it",
        "report/pages.py",
        """        autoescape=lambda name: name is not None and name.endswith(".html.jinja"),\n""",
        "        autoescape=False,\n",
        ("report/test_pages.py::test_a_page_escapes_and_plain_text_does_not",),
    ),
    Mutation(
        "call-home",
        "no library calls home",
        "images/augment.py",
        """    os.environ["NO_ALBUMENTATIONS_UPDATE"] = "1"\n""",
        "",
        ("images/test_augment.py::test_no_call_home_no_threads_and_no_import_before_it_is_needed",),
    ),
    # images
    Mutation(
        "pixels",
        "an image of too many pixels is refused before it is decoded",
        "images/decode.py",
        "    most = MOST_PIXELS // 2 if image.format in _HEAVY else MOST_PIXELS\n",
        "    most = MOST_PIXELS // 2 if image.format in _HEAVY else 2 * MOST_PIXELS\n",
        ("images/test_decode.py::test_a_huge_image_is_refused_before_it_is_decoded[7100]",),
    ),
    Mutation(
        "orientation",
        "an image is seen as its camera was held",
        "images/decode.py",
        "    return value if isinstance(value, int) and 1 <= value <= 8 else 1\n",
        "    return value if isinstance(value, int) and 1 <= value <= 7 else 1\n",
        ("images/test_decode.py::test_all_orientations_give_the_upright_image",),
    ),
    Mutation(
        "grey",
        "one pixel that is no number changes no other",
        "images/levels.py",
        "        brightest = float(values.max(initial=brightest, where=np.isfinite(values)))\n",
        "        brightest = float(values.max(initial=brightest))\n",
        ("images/test_decode.py::test_one_pixel_that_is_no_number_changes_no_other",),
    ),
    # training
    Mutation(
        "finite",
        "weights that are not finite are not saved over those that are",
        "training/trainer.py",
        "        if broken is not None:\n",
        '        if broken == "":\n',
        ("training/test_diverging.py::test_what_breaks_in_the_very_last_step_does_not_ship",),
    ),
    Mutation(
        "random-state",
        "a resumed training draws what the unbroken one draws",
        "training/state.py",
        '        torch.set_rng_state(content["random"])\n',
        "",
        ("training/test_resuming.py::test_stopping_after_any_step_loses_nothing[stop1]",),
    ),
    Mutation(
        "momentum",
        "a resumed training has the momentum of the unbroken one",
        "training/state.py",
        '        self.optimizer.load_state_dict(content["optimizer"])\n',
        "",
        ("training/test_resuming.py::test_stopping_after_any_step_loses_nothing[stop1]",),
    ),
    Mutation(
        "worker-seed",
        "workers that load batches take nothing of the training's random numbers",
        "training/batches.py",
        "        generator=torch.Generator(),\n",
        "",
        (
            "training/test_resuming.py::test_the_same_seed_gives_the_same_weights_and_resuming_from_any_epoch_too"
            "[a worker]",
        ),
    ),
    Mutation(
        "seed",
        "the order of the images follows from the seed and the epoch",
        "training/batches.py",
        "            return Drawn(np.random.default_rng((self.seed, epoch)).permutation(len(labels)))\n",
        "            return Drawn(np.random.default_rng(epoch).permutation(len(labels)))\n",
        ("training/test_sampling.py::test_shuffled_batches_are_what_they_always_were",),
    ),
    Mutation(
        "other-data",
        "a run is not gone on with on other data",
        "training/resume.py",
        "    if trained_on not in (None, dataset.fingerprint):\n",
        "    if trained_on == dataset.fingerprint * 2:\n",
        ("training/test_resuming.py::test_resuming_on_other_data_is_refused",),
    ),
    # honest figures
    Mutation(
        "test-set",
        "the test set chooses nothing",
        "training/calibrate.py",
        '    stand_in = name == "test"\n',
        '    stand_in = name == ""\n',
        ("training/test_calibrate.py::test_the_test_set_gives_nothing",),
    ),
    Mutation(
        "hold-out",
        "held-out images are not trained on",
        "data/dataset.py",
        "    rest = np.setdiff1d(np.arange(size), held, assume_unique=True)\n",
        "    rest = np.arange(size)\n",
        ("data/test_dataset.py::test_hold_out_is_stratified_disjoint_and_repeatable",),
    ),
    Mutation(
        "equal-images",
        "equal images are on one side of a split",
        "data/splits.py",
        '    keys = np.ascontiguousarray(digests[:, :8]).view("<u8").reshape(-1)\n',
        '    keys = np.ascontiguousarray(digests[:, :8]).view("<u8").reshape(-1)\n'
        "    keys = keys + np.arange(len(labels), dtype=keys.dtype)\n",
        ("data/test_splits.py::test_equal_images_are_on_one_side_whatever_they_are_called",),
    ),
    Mutation(
        "counted-twice",
        "each image is asked once",
        "inference/classifier.py",
        "    own = [classify(images[at : at + batch_size], often=False) for at in starts[rank::world]]\n",
        "    own = [classify(images[at : at + batch_size + 1], often=False) for at in starts[rank::world]]\n",
        ("inference/test_inference.py::test_batches_cover_every_picture_in_order",),
    ),
    Mutation(
        "no-number",
        "what is not finite is no prediction",
        "inference/predict.py",
        "        if not np.isfinite(shares).all():\n",
        "        if not shares.size:\n",
        ("inference/test_predict.py::test_what_is_not_finite_is_no_prediction",),
    ),
    # proofs
    Mutation(
        "field",
        "the receptive field of a strided layer is exact",
        "analysis/positions/reads.py",
        "        taps = np.arange(self.kernel, dtype=np.int64) * self.dilation\n"
        "        return outputs[:, None] * self.stride",
        "        taps = np.arange(self.kernel + (self.stride > 1), dtype=np.int64) * self.dilation\n"
        "        return outputs[:, None] * self.stride",
        ("analysis/test_course_facts.py::test_course_receptive_field_of_each_convolution",),
    ),
    Mutation(
        "macs",
        "the work of a grouped convolution is exact",
        "analysis/trace/recorder.py",
        "            macs=counter(*args, **kwargs, out_val=result) // 2 if counter else None,\n",
        "            macs=counter(*args, **kwargs, out_val=result) // 2 * bound.get('groups', 1)\n"
        "            if counter\n            else None,\n",
        ("analysis/test_operators.py::test_channels_last_and_linear_layers_as_in_convnext",),
    ),
    Mutation(
        "bound",
        "fewer than a limit is not as many as the limit",
        "rules/limits.py",
        "        margin = self.limit - facts.parameters\n        if margin > 0:\n",
        "        margin = self.limit - facts.parameters\n        if margin >= 0:\n",
        ("rules/test_kinds.py::test_a_planted_fault_is_found_with_its_layer",),
    ),
    # exports
    Mutation(
        "folded-norm",
        "a batch norm goes into the convolution before it",
        "inference/fold.py",
        "fuse_conv_bn_eval(convolution, following))\n",
        "convolution)\n",
        ("inference/test_inference.py::test_a_prepared_network_says_the_same_with_fewer_layers[nano]",),
    ),
    Mutation(
        "gate",
        "what does not say what its network says is not written",
        "export/gate.py",
        "    if found.difference > allowed or turned.any():\n",
        "    if turned.all():\n",
        ("export/test_onnx.py::test_the_gate_closes",),
    ),
    Mutation(
        "rounding",
        "8 bits are rounded to the nearest",
        "export/c/kernels.py",
        "    number += (int64_t)1 << (shift - 1);\n",
        "",
        ("export/test_c.py::test_every_kind_of_layer_is_the_same_to_the_last_bit[kernels]",),
    ),
    Mutation(
        "padding",
        "the C reads beyond the border what the network reads there",
        "export/c/kernels.py",
        "static void depthwise(const struct layer *layer, const int8_t *from, int8_t *to)\n{\n    int y, x, c, i, j;\n"
        "    for (y = 0; y < layer->rows; y++) {\n        for (x = 0; x < layer->columns; x++) {\n"
        "            for (c = 0; c < layer->channels; c++) {\n                int32_t sum = layer->bias[c];\n"
        "                for (i = 0; i < layer->kernel; i++) {\n"
        "                    int row = y * layer->stride - layer->padding",
        "static void depthwise(const struct layer *layer, const int8_t *from, int8_t *to)\n{\n    int y, x, c, i, j;\n"
        "    for (y = 0; y < layer->rows; y++) {\n        for (x = 0; x < layer->columns; x++) {\n"
        "            for (c = 0; c < layer->channels; c++) {\n                int32_t sum = layer->bias[c];\n"
        "                for (i = 0; i < layer->kernel; i++) {\n"
        "                    int row = y * layer->stride - layer->padding + (layer->stride > 1)",
        ("export/test_c.py::test_every_kind_of_layer_is_the_same_to_the_last_bit[separable]",),
    ),
    # the command line
    Mutation(
        "exit-code",
        "a damaged data set ends in its documented exit code",
        "errors.py",
        '    """A data set is missing, incomplete or damaged."""\n\n    exit_code = 3\n',
        '    """A data set is missing, incomplete or damaged."""\n\n    exit_code = 4\n',
        ("cli/test_exit_codes.py::test_how_an_error_ends_a_command",),
    ),
    Mutation(
        "journal",
        "a line that a killed search left half written is taken away",
        "search/storage.py",
        '                file.truncate(file.read().rfind(b"\\n") + 1)\n',
        "                file.read()\n",
        ("search/test_workers.py::test_a_torn_line_of_the_journal_is_taken_away",),
    ),
)
