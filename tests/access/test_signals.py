"""Rights: what ends or changes them in Django has open sockets asked again, and nothing else does."""

# ruff: noqa: F811 - pytest's way of naming what a test needs

from __future__ import annotations

import contextlib

import pytest
from django.contrib.auth.models import Group, Permission, User
from django.db import transaction

from immortus_channels.access import signals
from immortus_channels.push.messages import EVERYBODY, Revocation
from tests.push.test_revocations import ear  # noqa: F401


@pytest.mark.django_db(transaction=True)
def test_a_logout_is_told_of_and_an_anonymous_one_is_not(ear, client):
    alice = User.objects.create(username="alice")
    client.force_login(alice)
    ear.heard.clear()
    client.logout()
    assert ear.heard == [Revocation(user=str(alice.pk))]
    client.logout()
    assert len(ear.heard) == 1


@pytest.fixture
def alice():
    return User.objects.create(username="alice", password="x")


def disable(user):
    user.is_active = False
    user.save()


def change_password(user):
    user.password = "another"
    user.save(update_fields=["password"])


def leave_group(user):
    group = Group.objects.create(name="operators")
    user.groups.add(group)
    user.groups.remove(group)


def lose_group_from_the_other_side(user):
    group = Group.objects.create(name="operators")
    group.user_set.add(user)
    group.user_set.remove(user)


def lose_permission(user):
    user.user_permissions.set([Permission.objects.first()])
    user.user_permissions.clear()


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize(
    "change", [disable, change_password, leave_group, lose_group_from_the_other_side, lose_permission, User.delete]
)
def test_a_change_of_a_users_rights_is_told(ear, alice, change):
    key = str(alice.pk)
    ear.heard.clear()
    change(alice)
    assert ear.heard
    assert set(ear.heard) == {Revocation(user=key)}


class Colleague(User):
    """Another way to look at a user."""

    class Meta:
        app_label = "tests"
        proxy = True


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("change", [disable, User.delete])
def test_a_change_through_a_proxy_is_told(ear, alice, change, monkeypatch):
    key = str(alice.pk)
    colleague = Colleague.objects.get(pk=alice.pk)
    monkeypatch.setattr(signals.apps, "get_models", lambda: [User, Colleague])
    signals.connect()
    ear.heard.clear()
    change(colleague)
    assert set(ear.heard) == {Revocation(user=key)}


def lose_a_permission(group):
    group.permissions.clear()


def lose_a_permission_from_the_other_side(group):
    Permission.objects.first().group_set.remove(group)


@pytest.fixture
def operators():
    """A group with a member and a permission."""
    group = Group.objects.create(name="operators")
    group.permissions.add(Permission.objects.first())
    return group


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("change", [lose_a_permission, lose_a_permission_from_the_other_side, Group.delete])
def test_a_change_of_a_group_is_told_of_its_members(ear, alice, operators, change):
    alice.groups.add(operators)
    User.objects.create(username="bob")
    ear.heard.clear()
    change(operators)
    assert set(ear.heard) == {Revocation(user=str(alice.pk))}


@pytest.mark.django_db(transaction=True)
def test_deleting_a_group_tells_nobody_when_the_transaction_is_rolled_back(ear, alice, operators):
    alice.groups.add(operators)
    ear.heard.clear()
    with contextlib.suppress(ZeroDivisionError), transaction.atomic():
        operators.delete()
        raise ZeroDivisionError
    assert ear.heard == []


@pytest.mark.django_db(transaction=True)
def test_of_a_large_group_everybody_is_asked(ear, operators, monkeypatch):
    monkeypatch.setattr(signals, "NAMED", 2)
    for name in ("alice", "bob", "carol"):
        User.objects.create(username=name).groups.add(operators)
    ear.heard.clear()
    operators.permissions.clear()
    assert ear.heard == [Revocation(user=EVERYBODY)]


@pytest.mark.django_db(transaction=True)
def test_a_permission_that_goes_or_loses_its_groups_has_everybody_asked(ear, operators):
    permission = operators.permissions.get()
    ear.heard.clear()
    permission.group_set.clear()
    permission.delete()
    assert ear.heard == [Revocation(user=EVERYBODY)] * 2


@pytest.mark.django_db(transaction=True)
def test_a_login_and_a_new_user_are_nobodys_loss(ear, alice, client):
    assert ear.heard == []
    client.force_login(alice)
    alice.save(update_fields=["last_login", "email"])
    assert ear.heard == []
