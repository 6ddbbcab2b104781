"""Comparison with numbers recorded from the reference tools: `python -m vidseg_common.parity`.

One module per kind of case, named as the kind, with one function
`check(kit, case) -> Iterable[Check]`. Source: spec common section 9.
"""
