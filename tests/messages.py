"""What an error must look like."""


def one_line(start):
    """A pattern for `pytest.raises`: a message of one line that begins so."""
    return rf"\A{start}[^\n]*\Z"
