"""Public contract suites: does a method belong?"""
