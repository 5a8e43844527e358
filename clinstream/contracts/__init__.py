"""What outsiders may rely on, generated from the tables: schemas, AsyncAPI documents, access rules, golden events."""

from clinstream.contracts.golden import Verdict, golden_folder, judge, render, write

__all__ = ["Verdict", "golden_folder", "judge", "render", "write"]
