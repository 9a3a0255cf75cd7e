"""Versions, and what the code follows: its own specification; the literature, key (as cited) to full reference."""

from __future__ import annotations

from collections.abc import Mapping

__all__ = ["REFERENCES", "SPEC_VERSION", "VERSION"]

#: Version of the package.
VERSION = "0.1.0"

#: Version of SPEC.md.
SPEC_VERSION = 3

REFERENCES: Mapping[str, str] = {
    "F60": "R. A. Fisher, E. A. Cornish, The percentile points of distributions having known cumulants, Technometrics "
    "2, 209-225 (1960), doi 10.1080/00401706.1960.10489895",
    "H16": "K. He, X. Zhang, S. Ren, J. Sun, Deep residual learning for image recognition, CVPR 2016, 770-778, "
    "doi 10.1109/CVPR.2016.90",
    "H70": "G. W. Hill, Algorithm 395: Student's t-distribution, Communications of the ACM 13, 617-619 (1970), "
    "doi 10.1145/355598.355599",
    "J20": "V. Joshi, M. Le Gallo, S. Haefeli, I. Boybat, S. R. Nandakumar, C. Piveteau, M. Dazzi, B. Rajendran, "
    "A. Sebastian, E. Eleftheriou, Accurate deep neural network inference using computational phase-change "
    "memory, Nature Communications 11, 2473 (2020), doi 10.1038/s41467-020-16108-9",
    "L18": "M. Le Gallo, D. Krebs, F. Zipoli, M. Salinga, A. Sebastian, Collective structural relaxation in "
    "phase-change memory devices, Advanced Electronic Materials 4, 1700627 (2018), doi 10.1002/aelm.201700627",
    "L23": "M. Le Gallo et al., A 64-core mixed-signal in-memory compute chip based on phase-change memory for "
    "deep neural network inference, Nature Electronics 6, 680-693 (2023), doi 10.1038/s41928-023-01010-1; "
    "numbers as in aihwkit 1.2.0, HermesNoiseModel",
    "N19": "S. R. Nandakumar, I. Boybat, V. Joshi, C. Piveteau, M. Le Gallo, B. Rajendran, A. Sebastian, "
    "E. Eleftheriou, Phase-change memory models for deep learning training and inference, ICECS 2019, "
    "727-730, doi 10.1109/ICECS46596.2019.8964852",
    "R21": "M. J. Rasch, D. Moreda, T. Gokmen, M. Le Gallo, F. Carta, C. Goldberg, K. El Maghraoui, "
    "A. Sebastian, V. Narayanan, A flexible and fast PyTorch toolkit for simulating training and inference on "
    "analog crossbar arrays, AICAS 2021, doi 10.1109/AICAS51828.2021.9458494; numbers as in aihwkit 1.2.0",
    "S11": "J. K. Salmon, M. A. Moraes, R. O. Dror, D. E. Shaw, Parallel random numbers: as easy as 1, 2, 3, "
    "SC11, doi 10.1145/2063384.2063405",
    "W88": "M. J. Wichura, Algorithm AS 241: the percentage points of the normal distribution, Applied "
    "Statistics 37, 477-484 (1988), doi 10.2307/2347330",
}
