"""Collecting branches from a served model: sampling, probing, the journal, and the store that is made of it."""

SUFFIX = "\n\n**Final Answer**\n\\boxed{"
"""What a probe asks with: the branch so far and this, as in Dynasor (arXiv 2412.20993) and DEER (2504.15895)."""

CLOSING = "\n</think>\n"
"""What comes before the suffix where the branch is still thinking."""
