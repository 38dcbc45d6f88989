"""The one exception type that a user of bsa_st has to know."""


class BSAError(ValueError):
    """Input, file or setting that cannot be used; the message names it and says what to do.

    A ``ValueError``, so existing ``except ValueError`` handlers keep working. The command line prints the message as one
    line and exits with status 2.

    Example: ``with contextlib.suppress(bsa_st.BSAError): bsa_st.load("./nowhere")``
    """
