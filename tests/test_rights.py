"""Rights: what ends or changes them in Django has open sockets asked again, and nothing else does."""

# ruff: noqa: F811 - pytest's way of naming what a test needs

from __future__ import annotations

import pytest
from django.contrib.auth.models import Group, Permission, User

from immortus_channels.revocation import EVERYBODY, Revocation
from tests.test_revocation import ear  # noqa: F401


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


@pytest.mark.django_db(transaction=True)
def test_a_change_of_what_a_group_may_has_everybody_asked(ear):
    group = Group.objects.create(name="operators")
    group.permissions.add(Permission.objects.first())
    assert set(ear.heard) == {Revocation(user=EVERYBODY)}


@pytest.mark.django_db(transaction=True)
def test_a_login_and_a_new_user_are_nobodys_loss(ear, alice, client):
    assert ear.heard == []
    client.force_login(alice)
    alice.save(update_fields=["last_login", "email"])
    assert ear.heard == []
