"""Pickled batches of CIFAR-10, of several protocols."""

import functools
import pickle

import numpy as np

from pcmref.files.cifar10 import load_cifar10
from tests.fuzz.opcodes import changed_pickle


@functools.cache
def corpus():
    batch = {b"data": np.zeros((2, 3072), np.uint8), b"labels": [1, 2]}
    old = b"\x80\x02}q\x01(U\x06labelsq\x02]q\x03(K\x01K\x02eU\x04dataq\x04cnumpy.core.multiarray\n_reconstruct\nq\x05"
    old += (
        b"cnumpy\nndarray\nq\x06K\x00\x85U\x01b\x87Rq\x07(K\x01K\x02M\x00\x0c\x86cnumpy\ndtype\nU\x02u1K\x00K\x01\x87R"
    )
    old += b"(K\x03U\x01|NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb\x89T\x00\x18\x00\x00" + bytes(6144) + b"tbu."
    return [pickle.dumps(batch, protocol) for protocol in (3, 4)] + [old]


def good():
    return {"test_batch": corpus()[-1]}


def changed(rng):
    return {"test_batch": changed_pickle(rng, rng.choice(corpus()))}


def read(folder):
    load_cifar10(folder, split="test", md5=None)
