"""Reading binary codes: what a feature means, and why two texts match.

``bsa_st.explain`` is the function; the modules of this package are imported by their names, ``from bsa_st.explain.labels import ...``.
"""

from bsa_st.explain.pair import Contribution, Explanation, explain

__all__ = ["Contribution", "Explanation", "explain"]
