"""The laws of every room, and of each a mutant of the code that breaks it: no law is kept by a test that cannot fail.

A law is a test of its room.  Here stands what it says, where it is, and a change of one place of the source under
which it must fail; `tests.helpers.mutated` runs it so, with NumPy's kernels.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.helpers.mutated import NO_MUTANT, PACKAGE

ROOT = Path(__file__).resolve().parent.parent
FAILED = 1  # pytest's exit status


class Law(NamedTuple):
    """What holds, the test that shows it, and a change of a file below ``pcmref/`` that breaks it."""

    text: str
    test: str
    file: str
    old: str
    new: str


LAWS = [
    # arithmetic
    Law("ln undoes exp", "arithmetic/test_elementary.py::test_ln_undoes_exp", "arithmetic/elementary.py",
        "(tail + tail) + e * LN2_LOW", "(tail + tail) - e * LN2_LOW"),
    Law("ln never falls, where its branches meet either",
        "arithmetic/test_elementary.py::test_ln_never_decreases_across_a_branch_point", "arithmetic/elementary.py",
        "return e * LN2_HIGH +", "return e * 0.69 +"),
    Law("the normal quantile of 1 - p is minus that of p",
        "arithmetic/test_elementary.py::test_normal_quantile_is_antisymmetric", "arithmetic/elementary.py",
        "np.where(q[outside] < 0.0, -tail, tail)", "tail"),
    Law("words are those of Philox4x32-10, whatever the counter",
        "arithmetic/test_draws.py::test_philox_equals_the_naive_one_for_every_counter", "arithmetic/draws.py",
        "(even >> 32) ^ c3", "(even >> 32) ^ c1"),
    Law("a word does not depend on how many are drawn",
        "arithmetic/test_draws.py::test_words_do_not_depend_on_how_many_are_drawn", "arithmetic/draws.py",
        "np.arange(weights, dtype=np.uint32)", "np.arange(weights, dtype=np.uint32) * (1 + weights // 9)"),
    Law("draws are normal: moments, tails, distribution",
        "arithmetic/test_draws.py::test_moments_of_normals", "arithmetic/draws.py",
        "normal_quantile(uniforms(words))", "1.01 * normal_quantile(uniforms(words))"),
    Law("a conductance code is the conductance to half a step, or the largest",
        "arithmetic/test_codes.py::test_conductance_codes_are_the_conductance_to_half_a_step_or_saturated",
        "arithmetic/codes.py", "np.minimum(np.rint(values / step)", "np.minimum(np.floor(values / step)"),
    Law("a DAC is odd, never falls, keeps its own codes and saturates: 2 to 16 bits",
        "arithmetic/test_codes.py::test_dac_laws", "arithmetic/codes.py",
        "np.clip(np.rint(x * gain), low, high)", "np.clip(np.floor(x * gain + 0.5), low, high)"),
    Law("every code of every DAC up to 12 bits comes from its own input",
        "arithmetic/test_rules.py::test_every_code_of_a_dac", "arithmetic/codes.py",
        "np.clip(np.rint(x * gain), low, high)", "np.clip(np.rint(x * gain), low + 1, high)"),
    Law("an ADC never falls, is odd where its limits are, and saturates",
        "arithmetic/test_codes.py::test_adc_laws", "arithmetic/codes.py",
        "(sums + offset) * gain, rounding), low, high)", "(sums + offset) * gain, rounding), low, high - 1)"),
    Law("every code of every ADC up to 12 bits, at every rounding",
        "arithmetic/test_rules.py::test_every_code_of_an_adc", "arithmetic/codes.py",
        "size - down >= 0.5", "size - down > 0.5"),
    Law("thresholds of a gain have the codes of the gain",
        "arithmetic/test_codes.py::test_the_thresholds_of_a_gain_have_its_codes", "arithmetic/codes.py",
        'side="right"', 'side="left"'),
    Law("phases times their weights are what drives a row",
        "arithmetic/test_codes.py::test_phases_times_their_weights_are_what_drives_the_row", "arithmetic/codes.py",
        "(driven >> bit) & 1 for bit in range(bits)", "(driven >> bit) & 1 for bit in reversed(range(bits))"),
    Law("a register that wraps may add its terms in any order",
        "arithmetic/test_codes.py::test_a_register_that_wraps_can_take_the_terms_one_by_one_in_any_order",
        "arithmetic/codes.py", "((sums + half) & ((1 << bits) - 1)) - half", "np.abs(sums) & (half - 1)"),
    Law("sums are those of Python's integers",
        "arithmetic/test_kernels.py::test_the_reference_sums_like_python", "arithmetic/reference.py",
        "2 * pair[:, None] + np.arange(2)", "2 * pair[:, None] + np.arange(2)[::-1]"),
    Law("moments are summed one pixel after the other",
        "arithmetic/test_kernels.py::test_moments_are_summed_one_pixel_after_the_other", "arithmetic/reference.py",
        "np.add.accumulate(v, axis=1)[:, -1]", "v.sum(axis=1)"),
    # devices
    Law("a change of units changes nothing",
        "devices/test_pcm.py::test_a_change_of_units_changes_nothing", "devices/pcm.py",
        "exp(-nu * log_time)", "exp(-nu * log_time) + 1e-3"),
    Law("drift is the identity at t_c", "devices/test_pcm.py::test_drift_is_the_identity_at_t_c", "devices/pcm.py",
        "(t_s + model.t_offset_s) / model.t_c_s", "(t_s + model.t_offset_s + 1) / model.t_c_s"),
    Law("drift composes", "devices/test_pcm.py::test_drift_composes", "devices/pcm.py",
        "exp(-nu * log_time)", "exp(-nu * log_time * np.abs(log_time))"),
    Law("a device that drifts conducts less later",
        "devices/test_pcm.py::test_drift_and_its_inverse_go_opposite_ways", "devices/pcm.py",
        "exp(-nu * log_time)", "exp(nu * log_time)"),
    Law("no conductance is negative", "devices/test_pcm.py::test_conductances_are_never_negative", "devices/pcm.py",
        "np.maximum(g_drift_us + spread_us * z, 0.0)", "g_drift_us + spread_us * z"),
    Law("mapping and back are the weights", "devices/test_mapping.py::test_round_trip", "devices/mapping.py",
        "w_max / (g_max_us * sum(significance))", "w_max / (g_max_us * len(significance) * 1.01)"),
    Law("one device of a pair conducts at most",
        "devices/test_mapping.py::test_the_sign_of_a_weight_picks_the_device", "devices/mapping.py",
        "np.maximum(-self.g_target_us, 0.0)", "np.abs(self.g_target_us)"),
    Law("scaling all weights changes the digital scale only",
        "devices/test_chip.py::test_scaling_all_weights_changes_only_the_digital_scale", "devices/mapping.py",
        "np.tile(weights * (g_max_us / w_max)", "np.tile(weights * g_max_us"),
    Law("the devices of a layer do not depend on other layers",
        "devices/test_chip.py::test_the_draws_of_a_layer_do_not_depend_on_other_layers", "devices/mapping.py",
        "map_matrix(layer.name, layer.matrix(),",
        "map_matrix(layer.name, layer.matrix() + network.crossbar_layers[0].matrix()[0, 0],"),
    Law("programmed, drifted and read devices have their closed forms",
        "devices/test_chip.py::test_closed_forms_of_drift_and_read", "devices/pcm.py",
        "g_drift_us + spread_us * z", "g_drift_us + 1.2 * spread_us * z"),
    # network
    Law("im2col and a product are the seven-fold loop of a convolution",
        "network/test_geometry.py::test_gathered_rows_times_the_matrix_are_the_convolution", "network/geometry.py",
        "windows.dilation[0] * i * step_y + windows.dilation[1] * j",
        "windows.dilation[0] * j * step_y + windows.dilation[1] * i"),
    Law("a group of columns reads its own channels",
        "network/test_geometry.py::test_gathered_rows_times_the_matrix_are_the_convolution", "network/geometry.py",
        "np.arange(groups)[:, None] * (channels // groups)", "np.arange(groups)[:, None] * (channels // groups - 1)"),
    Law("a last window counts only where it begins in the input or before it",
        "inference/test_digital.py::test_pools_are_those_of_pytorch", "network/windows.py",
        "steps * stride < before + pixels", "steps * stride < size"),
    Law("every window of a pooling sees a pixel",
        "network/test_layers.py::test_every_window_of_a_pool_sees_a_pixel", "network/windows.py",
        "first + element * dilation >= pixels", "first + element * dilation > pixels"),
    Law("a network has one digest, however its sizes are written",
        "network/test_layers.py::test_sizes_that_are_alike_are_one_and_defaults_are_left_out", "network/layers.py",
        "self.defaults.get(name, _REQUIRED) != value", "self.defaults.get(name, _REQUIRED) is not value or value == 1"),
    Law("rows lie in the order kernel row, kernel column, channel, bias",
        "network/test_layers.py::test_rows_are_in_the_order_kernel_row_kernel_column_channel_bias",
        "network/layers.py", "np.moveaxis(self.weight, 1, -1)", "self.weight"),
    # crossbar
    Law("sums before noise are linear in the codes",
        "crossbar/test_product.py::test_sums_before_noise_are_linear_in_the_codes", "arithmetic/reference.py",
        "image[offset].astype(np.float64) @ matrix", "np.abs(image[offset].astype(np.float64)) @ matrix"),
    Law("tiles change nothing without an ADC",
        "crossbar/test_layer.py::test_tiles_change_nothing_without_an_adc", "crossbar/layout.py",
        "slice(start, min(start + size, (start // each + 1) * each))", "slice(start, start + size - 1)"),
    Law("every wiring gives the same sums without an ADC",
        "crossbar/test_product.py::test_without_an_adc_every_wiring_gives_the_sums", "crossbar/wiring.py",
        "np.array(lines)[line] * np.array(phases)[phase]", "np.array(phases)[phase]"),
    Law("an ADC's codes are the sums to half a step, or a limit",
        "crossbar/test_layer.py::test_adc_codes_are_the_sums_to_half_a_step_or_saturated", "arithmetic/codes.py",
        "return input_step * g_step_us / lsb_us", "return 0.9 * input_step * g_step_us / lsb_us"),
    Law("a converter that saturates never falls",
        "crossbar/test_product.py::test_a_converter_that_saturates_never_falls", "arithmetic/codes.py",
        "np.clip(sums, -half, half - 1)", "np.where(abs(sums) < half, sums, 0)"),
    Law("no input has the output code zero",
        "crossbar/test_product.py::test_no_input_has_the_output_code_zero_with_offset_codes", "crossbar/wiring.py",
        "totals[tile] * driven.astype(np.int64)[phase, None]", "0 * totals[tile]"),
    Law("fresh read noise has the moments of noisy devices",
        "crossbar/test_layer.py::test_fresh_noise_has_the_moments_of_noisy_devices", "arithmetic/codes.py",
        "np.sqrt(VARIANCE_STEP * variance", "np.sqrt(1.2 * VARIANCE_STEP * variance"),
    Law("fresh read noise has the distribution of noisy devices",
        "crossbar/test_layer.py::test_fresh_noise_has_the_distribution_of_noisy_devices", "arithmetic/codes.py",
        "np.rint(z * np.sqrt(", "np.rint(np.sign(z) * np.sqrt("),
    Law("fresh noise depends on the address of an image only",
        "crossbar/test_layer.py::test_the_noise_of_an_image_depends_on_its_address_only",
        "arithmetic/conversion.py", "(image & np.uint64(0xFFFFFFFF))[:, None]",
        "np.arange(n, dtype=np.uint64)[:, None]"),
    Law("a vector of a tile does not depend on its company",
        "crossbar/test_tile.py::test_a_vector_does_not_depend_on_its_company", "arithmetic/conversion.py",
        "counter[..., 0] = np.arange(blocks)", "counter[..., 0] = np.arange(blocks) + n"),
    # inference
    Law("the mean of a window is that of its pixels, or of its padding too",
        "inference/test_digital.py::test_average_pool", "inference/digital.py",
        "1.0 if layer.count_padding else 0.0", "0.0 if layer.count_padding else 1.0"),
    Law("neighbouring channels of an even number are one more behind",
        "inference/test_digital.py::test_operations_element_by_element", "arithmetic/periphery.py",
        "range(-((size - 1) // 2), size // 2 + 1)", "range(-(size // 2), (size - 1) // 2 + 1)"),
    Law("channels of all groups come in turn",
        "inference/test_digital.py::test_operations_element_by_element", "inference/digital.py",
        "x.reshape(*x.shape[:-1], layer.groups, -1)", "x.reshape(*x.shape[:-1], -1, layer.groups)"),
    Law("tanh is as good on both sides of its seam",
        "inference/test_digital.py::test_the_tangent_is_as_good_on_both_sides_of_its_seam", "arithmetic/periphery.py",
        "TANH_IS_X_BELOW = 2.0**-12", "TANH_IS_X_BELOW = 2.0**-10"),
    Law("a layer that is kept digital is counted in the addresses of the others",
        "inference/test_run.py::test_layers_that_are_kept_digital", "network/graph.py",
        "enumerate(x for x in self.layers if isinstance(x, CrossbarLayer))",
        "enumerate(x for x in self.layers if isinstance(x, CrossbarLayer) and not x.digital)"),
    Law("a layer that is kept digital is added up in the order of its rows",
        "inference/test_run.py::test_layers_that_are_kept_digital", "arithmetic/reference.py",
        "for row in range(rows):", "for row in reversed(range(rows)):"),
    Law("logits of an image do not depend on its batch, order, chunk and threads",
        "inference/test_run.py::test_an_image_s_logits_do_not_depend_on_its_company", "arithmetic/reference.py",
        "top = np.abs(x.reshape(n, -1)).max(axis=1)", "top = np.full(n, np.abs(x).max(), np.float32)"),
    Law("classes in another order have their logits in that order",
        "inference/test_laws.py::test_classes_in_another_order_have_their_logits_in_that_order",
        "arithmetic/periphery.py", "codes.astype(np.float32) * factor",
        "codes.astype(np.float32) * np.sort(factor) + np.arange(codes.shape[-1], dtype=np.float32)"),
    Law("the order of channels between two layers changes no bit",
        "inference/test_laws.py::test_the_order_of_channels_between_two_layers_changes_no_bit",
        "arithmetic/reference.py", "image[offset].astype(np.float64) @ matrix",
        "image[offset].astype(np.float32) @ matrix.astype(np.float32)"),
    Law("a layer and its successor may share a power of two",
        "inference/test_laws.py::test_a_layer_and_its_successor_may_share_a_power_of_two",
        "arithmetic/reference.py", "np.full(n, dac.top) if dac.top > 0 else",
        "np.full(n, dac.top) if dac.top > 0 else top + np.float32(0.1) if True else"),
    Law("weights of the other sign give logits of the other sign",
        "inference/test_laws.py::test_weights_of_the_other_sign_give_logits_of_the_other_sign",
        "devices/mapping.py", "np.tile(weights * (g_max_us / w_max)",
        "np.tile(np.maximum(weights, -w_max / 2) * (g_max_us / w_max)"),
    Law("a class does not know the others",
        "inference/test_laws.py::test_a_class_does_not_know_the_others", "devices/mapping.py",
        "size.max(axis=0)", "size.max(axis=0).mean()"),
    Law("GDC restores a network that has drifted uniformly",
        "inference/test_compensation.py::test_gdc_restores_a_uniformly_drifted_network_to_the_last_bit",
        "inference/gdc.py", "before_sum / np.where(valid, now_sum, 1)", "np.where(valid, now_sum, 1) / before_sum"),
    Law("without drift every factor of GDC is one",
        "inference/test_compensation.py::test_without_drift_every_gain_is_one", "inference/gdc.py",
        "np.where(valid, before_sum /", "np.where(valid, (before_sum + 1) /"),
    Law("AdaBS removes a gain of each channel",
        "inference/test_compensation.py::test_adabs_removes_a_gain_of_each_channel_to_the_last_bit",
        "inference/adabs.py", "total[1] - total[0] * total[0]", "total[1] - total[0]"),
    Law("AdaBS depends on neither threads nor chunks",
        "inference/test_compensation.py::test_adabs_does_not_depend_on_threads_or_chunks", "inference/adabs.py",
        "return _sums(values) if summed", "return _sums(values)[:1] + 0 * _sums(values) if summed"),
    Law("AdaBS does not depend on which maps are kept",
        "inference/test_compensation.py::test_adabs_does_not_depend_on_which_maps_are_kept", "inference/adabs.py",
        "if summed else np.empty(0)", "if kept and summed else np.zeros((1, 2, values.shape[-1]))"),
    Law("a share of 0.015 of the stored statistics stays",
        "inference/test_compensation.py::test_a_share_of_0_015_of_the_stored_statistics_stays",
        "inference/adabs.py", "keep * old.mean", "keep * keep * old.mean"),
    Law("ranges depend on neither the order of images nor threads",
        "inference/test_ranges.py::test_ranges_do_not_depend_on_the_order_of_images_or_on_threads",
        "inference/ranges.py",
        "np.sort(values)[len", "values[len"),
    # files
    Law("an ONNX model computes what its operators say",
        "importers/test_onnx.py::test_small_graphs", "importers/onnx_layers.py",
        'attributes.get("transB", 0)', 'not attributes.get("transB", 0)'),
    Law("an odd pixel of padding goes to the end, or to the start",
        "importers/test_onnx.py::test_small_graphs", "importers/onnx_layers.py",
        'before.append(less if rule == "SAME_UPPER" else more)', "before.append(less)"),
    Law("data of an ONNX model come from its folder alone",
        "importers/test_onnx.py::test_data_beside_the_file_come_from_its_folder_alone", "importers/onnx_file.py",
        "not place.is_relative_to(folder)", "False"),
    Law("a network that is written, read and written again has the same bytes",
        "files/test_networks.py::test_the_same_network_gives_the_same_bytes", "files/networks.py",
        'calibration=_samples(contents, "calibration")', 'calibration=_samples(contents, "evaluation")'),
    Law("corrections that are written, read and written again have the same bytes",
        "files/test_corrections.py::test_the_same_corrections_give_the_same_bytes", "files/corrections.py",
        "gain={name: _numbers", "gain={name: 2 * _numbers"),
    Law("a golden case that is written, read and written again has the same bytes",
        "golden/test_cases.py::test_a_case_comes_back_from_its_folder", "golden/folders.py",
        'tuple(_value(GroupEntry, each) for each in document["groups"])',
        'tuple(_value(GroupEntry, each) for each in document["groups"][::-1])'),
    Law("a study that is interrupted ends as if nothing had happened",
        "studies/test_document.py::test_a_run_goes_on_and_ends_as_if_nothing_had_happened",
        "studies/document.py",
        "return rows\n\n", "return rows[:-1]\n\n"),
]  # fmt: skip


def test_there_are_laws_of_every_room():
    assert len(LAWS) >= 30
    assert len({law.text for law in LAWS}) == len(LAWS)
    rooms = {law.test.split("/")[0] for law in LAWS}
    assert rooms >= {"arithmetic", "devices", "network", "crossbar", "inference", "files", "studies", "golden"}


@pytest.mark.parametrize("law", LAWS, ids=[law.text for law in LAWS])
def test_the_law_and_its_mutant_are_there(law):
    """At once, as the mutants themselves wait for the slow tests."""
    file, _, name = law.test.partition("::")
    assert f"\ndef {name}(" in (ROOT / "tests" / file).read_text(encoding="utf-8")
    source = (PACKAGE / law.file).read_text(encoding="utf-8")
    assert source.count(law.old) == 1
    assert compile(source.replace(law.old, law.new), law.file, "exec") != compile(source, law.file, "exec")


@pytest.mark.soak
@pytest.mark.parametrize("law", LAWS, ids=[law.text for law in LAWS])
def test_a_mutant_breaks_the_law(law):
    command = [sys.executable, "-m", "tests.helpers.mutated", law.file, law.old, law.new, f"tests/{law.test}"]
    environment = {**os.environ, "PCMREF_KERNELS": "numpy"}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode != NO_MUTANT, f"{law.old!r} is not in {law.file} once"
    assert done.returncode == FAILED, done.stdout[-2000:] + done.stderr[-2000:]
