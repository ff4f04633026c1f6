"""What FluxStudio writes to people about their accounts. Pure: facts in, letters out."""

from __future__ import annotations

from fluxstudio.mail.letter import Letter

_FOOT = "\n\n-- \nFluxStudio"


def _letter(recipient: str, subject: str, *paragraphs: str) -> Letter:
    return Letter(recipient, subject, "\n\n".join(paragraphs) + _FOOT + "\n")


def verify_email(recipient: str, name: str, link: str) -> Letter:
    return _letter(
        recipient,
        "Confirm your e-mail address",
        f"Hello {name},",
        "somebody, hopefully you, has signed up for FluxStudio with this address. To confirm it, open this link within "
        f"24 hours, in the browser in which you signed up:\n\n{link}",
        "If it was not you, do nothing: without the link there is no account.",
    )


def already_signed_up(recipient: str, name: str, link: str) -> Letter:
    return _letter(
        recipient,
        "You have an account already",
        f"Hello {name},",
        "somebody, perhaps you, has tried to sign up for FluxStudio with this address. You have an account with it "
        f"already. If you forgot your password, set a new one here:\n\n{link}",
        "If it was not you, nothing has to be done.",
    )


def sign_in_code(recipient: str, name: str, code: str) -> Letter:
    return _letter(
        recipient,
        f"{code} is your code to sign in",
        f"Hello {name},",
        f"your code to sign in to FluxStudio is\n\n    {code}",
        "It is good for 5 minutes, in the browser that asked for it. Give it to nobody: we never ask for it.",
        "If you did not ask for it, do nothing.",
    )


def reset_password(recipient: str, name: str, link: str) -> Letter:
    return _letter(
        recipient,
        "Set a new password",
        f"Hello {name},",
        f"to set a new password for FluxStudio, open this link within an hour:\n\n{link}",
        "If you did not ask for it, do nothing: your password stays as it is.",
    )


def password_changed(recipient: str, name: str, link: str, *, signed_out: bool) -> Letter:
    return _letter(
        recipient,
        "Your password was changed",
        f"Hello {name},",
        "the password of your FluxStudio account was changed just now."
        + (" Other devices were signed out." if signed_out else " Other devices stay signed in."),
        f"If it was not you, set a new password at once: {link}",
    )


def confirm_new_email(recipient: str, name: str, link: str) -> Letter:
    return _letter(
        recipient,
        "Confirm your new e-mail address",
        f"Hello {name},",
        f"to use this address for your FluxStudio account, open this link within 24 hours:\n\n{link}",
        "If you did not ask for it, do nothing.",
    )


def new_email_is_taken(recipient: str) -> Letter:
    return _letter(
        recipient,
        "Your e-mail address was entered for another account",
        "Hello,",
        "somebody, perhaps you, wanted to use this address for another FluxStudio account. It belongs to yours, and "
        "stays there.",
    )


def email_change_asked(recipient: str, name: str, new_email: str, link: str) -> Letter:
    return _letter(
        recipient,
        "Somebody wants to change your e-mail address",
        f"Hello {name},",
        f"somebody who is signed in to your FluxStudio account wants to change its address to {new_email}.",
        f"If it was not you, set a new password at once: {link}",
    )


def email_changed(recipient: str, name: str, old_email: str, new_email: str) -> Letter:
    return _letter(
        recipient,
        "Your e-mail address was changed",
        f"Hello {name},",
        f"the address of your FluxStudio account was changed from {old_email} to {new_email}.",
        "If it was not you, write to whoever runs this studio at once.",
    )


def second_factor_changed(recipient: str, name: str, link: str, *, on: bool) -> Letter:
    return _letter(
        recipient,
        f"Two-step sign-in was switched {'on' if on else 'off'}",
        f"Hello {name},",
        f"signing in to your FluxStudio account with an authenticator app was switched {'on' if on else 'off'}.",
        f"If it was not you, set a new password at once: {link}",
    )


def recovery_code_used(recipient: str, name: str, left: int, link: str) -> Letter:
    return _letter(
        recipient,
        "A recovery code was used",
        f"Hello {name},",
        f"somebody signed in to your FluxStudio account with a recovery code. {left} are left.",
        f"If it was not you, set a new password at once: {link}",
    )


def account_deleted(recipient: str, name: str) -> Letter:
    return _letter(
        recipient,
        "Your account was deleted",
        f"Hello {name},",
        "your FluxStudio account was deleted as you asked. Messages that you wrote stay in their projects, without "
        "your name.",
    )


def invitation(recipient: str, sender: str, link: str) -> Letter:
    """Nothing in it is the sender's to choose, neither name nor title: this goes to people who do not know them."""
    return _letter(
        recipient,
        "You are invited to a project",
        "Hello,",
        f"{sender} invites you to a project in FluxStudio. To see and accept the invitation, sign in with this address, "
        f"or sign up with it if you have no account yet:\n\n{link}",
        "The invitation is good for 30 days. If you do not know who sent it, do nothing.",
    )
