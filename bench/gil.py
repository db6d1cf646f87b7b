"""From which size on is it worth it to release the GIL for the hash of a body?

Of the compiled core: the same bodies hashed with the GIL held and released, by one thread, by two, and beside a thread
that only computes in Python. `--json` and the other options: see harness.py.
"""

import os
import threading
import time

import harness

SIZES = [4 << 10, 8 << 10, 16 << 10, 32 << 10, 64 << 10, 128 << 10, 256 << 10, 1 << 20, 5 << 20]
NEVER = 1 << 62
EXPLANATION = """
alone: one hash, GIL held.  release: what releasing it adds when nobody waits for it.
two threads: hashes a second of two threads, released / held.
beside: one hash beside a thread that computes in Python.  other keeps: how much that one does of what it does alone.
its longest gap: its longest 100 empty loops."""
MODES = {"held": NEVER, "released": 0}


def in_threads(functions, budget_s):
    """Call each function again and again in a thread of its own, and return [(calls, the longest in s), ...]."""
    results = [None] * len(functions)
    start = threading.Barrier(len(functions))

    def work(index, function):
        calls, longest = 0, 0.0
        start.wait()
        before = time.perf_counter()
        end = before + budget_s
        while before < end:
            function()
            now = time.perf_counter()
            longest = max(longest, now - before)
            before = now
            calls += 1
        results[index] = calls, longest

    threads = [threading.Thread(target=work, args=pair) for pair in enumerate(functions)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return results


def compute():
    for _ in range(100):
        pass


def measure(size, rounds, budget_s):
    """{mode: {what: the best of the rounds}} for bodies of this size."""
    from opensearch_sigv4.core import _cython

    bodies = [os.urandom(size) for _ in range(2)]
    hashes = [lambda body=body: _cython.payload_hash(body) for body in bodies]
    found = {mode: {} for mode in MODES}

    def note(mode, **values):
        for name, value in values.items():
            found[mode].setdefault(name, []).append(value)

    batch = [bodies[0]] * max(1, (4 << 20) // size)
    for _ in range(rounds):
        computed_alone = in_threads([compute], budget_s)[0][0]
        for mode, min_bytes in MODES.items():
            _cython.set_gil_release_min_bytes(min_bytes)
            alone, _ = harness.timed(
                lambda batch: [*map(_cython.payload_hash, batch)], iter(lambda: batch, None), budget_s
            )
            note(mode, alone_us=alone.wall_us)
            note(mode, two_per_s=sum(calls for calls, _ in in_threads(hashes, budget_s)) / budget_s)
            (computed, gap_s), (hashed, longest_s) = in_threads([compute, hashes[0]], budget_s)
            note(mode, computed=computed / computed_alone, gap_ms=gap_s * 1e3)
            note(mode, beside_us=budget_s / hashed * 1e6, beside_longest_ms=longest_s * 1e3)
    # The best round: what the machine's other programs took is no property of the GIL.
    best = {"computed": max, "two_per_s": max}
    return {
        mode: {name: best.get(name, min)(values) for name, values in values_of.items()}
        for mode, values_of in found.items()
    }


def main():
    options = harness.arguments(__doc__.partition("\n")[0]).parse_args()
    rounds = options.rounds or (1 if options.quick else 15)
    print(harness.machine(), flush=True)
    results = {size: measure(size, rounds, 0.02 if options.quick else 0.1) for size in SIZES}
    rows = []
    for size, modes in results.items():
        held, released = modes["held"], modes["released"]
        rows.append(
            [
                f"{size >> 10} KB",
                f"{held['alone_us']:.2f}",
                f"{(released['alone_us'] - held['alone_us']) * 1e3:+.0f}",
                f"{released['two_per_s'] / held['two_per_s']:.2f}",
                *(f"{mode['beside_us']:.0f}" for mode in (held, released)),
                *(f"{mode['computed']:.0%}" for mode in (held, released)),
                *(f"{mode['gap_ms']:.1f}" for mode in (held, released)),
            ]
        )
    header = [
        "body",
        "alone, us",
        "release, ns",
        "two threads, x",
        *("beside, held, us", "released, us"),
        *("other keeps, held", "released"),
        *("its longest gap, held, ms", "released, ms"),
    ]
    print(harness.table(header, rows, markdown=options.markdown))
    print(EXPLANATION)
    harness.write_json(options, {"machine": harness.machine(), "results": results})


if __name__ == "__main__":
    main()
