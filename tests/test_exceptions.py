from __future__ import annotations

import inspect

import pytest
from django.core.exceptions import ImproperlyConfigured
from django.http import Http404
from django.utils.translation import gettext_lazy

from immortus_channels import exceptions
from immortus_channels.exceptions import ImmortusError, JobFailed

ERRORS = [kind for _, kind in inspect.getmembers(exceptions, inspect.isclass) if kind.__module__ == exceptions.__name__]


@pytest.mark.parametrize("error", ERRORS)
def test_every_error_has_one_root_and_a_docstring(error):
    assert issubclass(error, ImmortusError)
    assert error.__doc__


@pytest.mark.parametrize("error", ERRORS)
def test_the_tree_in_the_docstring_names_every_error(error):
    assert f"{error.__name__} " in f"{exceptions.__doc__} ".replace("\n", " ")


@pytest.mark.parametrize("name", ["ConfigurationError", "StrategyNotFound", "StoreNotFound"])
def test_configuration_errors_are_djangos_too(name):
    assert issubclass(getattr(exceptions, name), ImproperlyConfigured)


@pytest.mark.parametrize("name", ["ReservedMetaKey", "InvalidValue", "DocumentTooLarge"])
def test_a_value_that_is_refused_is_a_value_error(name):
    assert issubclass(getattr(exceptions, name), ValueError)


def test_a_job_that_is_not_found_is_not_found_for_django_too():
    assert issubclass(exceptions.JobNotFound, Http404)


def test_job_failed_keeps_its_code_and_a_sentence_that_is_translated_later():
    sentence = gettext_lazy("This file is not an image.")
    error = JobFailed("not_an_image", sentence)
    assert (error.code, error.message) == ("not_an_image", sentence)
    assert str(error) == "not_an_image: This file is not an image."
    assert JobFailed("x").message == ""
