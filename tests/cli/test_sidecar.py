"""What the sidecar's options are called in its messages."""

from __future__ import annotations


def test_a_mistake_in_an_option_names_the_option(run):
    code, _, err = run(
        "sidecar", "--upstream", "http://127.0.0.1:80000", "--listen", "x", "--admin", "127.0.0.1:65536"
    )
    assert code == 2
    assert [line.partition(": '")[0] for line in err.splitlines()] == [
        "error: sidecar.upstream (--upstream)",
        "error: sidecar.listen (--listen)",
        "error: admin.listen (--admin)",
    ]


def test_one_address_for_both_listeners_is_refused(run):
    code, _, err = run(
        "sidecar", "--upstream", "http://10.0.0.1", "--listen", "0.0.0.0:10911", "--admin", "127.0.0.1:10911"
    )
    assert code == 2
    assert err == (
        "error: admin.listen (--admin): '127.0.0.1:10911' is not valid: "
        "it is the address of sidecar.listen (0.0.0.0:10911); give each its own\n"
    )
