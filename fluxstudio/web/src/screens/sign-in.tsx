import { useState } from "react";
import { Link, useLocation } from "wouter";

import { api, data, Problem } from "../api/client";
import { returnAddress } from "../app";
import { signedIn, type Account } from "../session";
import { Field, ProblemNote, useSubmit } from "../ui/form";

interface Ticket {
  ticket: string;
}

type Step = { name: "password" } | { name: "code"; email: string } | { name: "second"; ticket: string };

/** Signing in: by password or by a code from a mail, and by the second step where it is on. */
export function SignIn() {
  const [, go] = useLocation();
  const [step, setStep] = useState<Step>({ name: "password" });
  const [remember, setRemember] = useState(false);
  const arrive = (outcome: Account | Ticket) => {
    if ("ticket" in outcome) {
      setStep({ name: "second", ticket: outcome.ticket });
      return;
    }
    signedIn(outcome);
    go(returnAddress(), { replace: true });
  };
  return (
    <main className="card">
      <h1>Sign in to FluxStudio</h1>
      {step.name === "password" ? (
        <ByPassword remember={remember} arrive={arrive} sent={(email) => setStep({ name: "code", email })} />
      ) : step.name === "code" ? (
        <ByCode email={step.email} remember={remember} arrive={arrive} back={() => setStep({ name: "password" })} />
      ) : (
        <SecondStep ticket={step.ticket} remember={remember} arrive={arrive} />
      )}
      <label className="check">
        <input type="checkbox" checked={remember} onChange={(event) => setRemember(event.target.checked)} /> Stay signed
        in on this device
      </label>
      <p className="links">
        <Link href="/forgot-password">Forgot the password?</Link>
        <Link href="/sign-up">Make an account</Link>
      </p>
    </main>
  );
}

interface StepProps {
  remember: boolean;
  arrive: (outcome: Account | Ticket) => void;
}

function ByPassword({ remember, arrive, sent }: StepProps & { sent: (email: string) => void }) {
  const { busy, problem, onSubmit } = useSubmit(async (form) => {
    const email = String(form.get("email"));
    if (form.get("how") === "code") {
      await data(api.POST("/api/sign-in/code", { body: { email } }));
      sent(email);
      return;
    }
    const body = { email, password: String(form.get("password")), remember };
    arrive(await data(api.POST("/api/sign-in", { body })));
  });
  const [how, setHow] = useState<"password" | "code">("password");
  return (
    <form onSubmit={onSubmit}>
      <input type="hidden" name="how" value={how} />
      <Field label="E-mail" name="email" type="email" autoComplete="username" required autoFocus problem={problem} />
      {how === "password" ? (
        <Field
          label="Password"
          name="password"
          type="password"
          autoComplete="current-password"
          required
          problem={problem}
        />
      ) : null}
      <ProblemNote problem={problem} />
      <button type="submit" disabled={busy}>
        {how === "password" ? "Sign in" : "Mail me a code"}
      </button>
      <button type="button" className="quiet wide" onClick={() => setHow(how === "password" ? "code" : "password")}>
        {how === "password" ? "Sign in with a code by mail" : "Sign in with the password"}
      </button>
    </form>
  );
}

function ByCode({ email, remember, arrive, back }: StepProps & { email: string; back: () => void }) {
  const { busy, problem, onSubmit } = useSubmit(async (form) => {
    const body = { email, code: String(form.get("code")), remember };
    arrive(await data(api.POST("/api/sign-in/code/verify", { body })));
  });
  return (
    <form onSubmit={onSubmit}>
      <p>If {email} has an account, a code is on its way. It is good for five minutes.</p>
      <Field label="Code" name="code" inputMode="numeric" autoComplete="one-time-code" required autoFocus problem={problem} />
      <ProblemNote problem={problem} />
      <button type="submit" disabled={busy}>
        Sign in
      </button>
      <button type="button" className="quiet wide" onClick={back}>
        Back
      </button>
    </form>
  );
}

function SecondStep({ ticket, remember, arrive }: StepProps & { ticket: string }) {
  const { busy, problem, onSubmit } = useSubmit(async (form) => {
    const body = { ticket, code: String(form.get("code")), remember };
    arrive(await data(api.POST("/api/sign-in/second-factor", { body })));
  });
  return (
    <form onSubmit={onSubmit}>
      <p>Open your authenticator app and type its code, or one of your recovery codes.</p>
      <Field label="Code" name="code" autoComplete="one-time-code" required autoFocus problem={problem} />
      <ProblemNote problem={problem} />
      <button type="submit" disabled={busy}>
        Sign in
      </button>
    </form>
  );
}

export function SignUp() {
  const [sent, setSent] = useState(false);
  const { busy, problem, onSubmit } = useSubmit(async (form) => {
    const body = {
      email: String(form.get("email")),
      name: String(form.get("name")),
      password: String(form.get("password")),
    };
    await data(api.POST("/api/sign-up", { body }));
    setSent(true);
  });
  return (
    <main className="card">
      <h1>Make an account</h1>
      {sent ? (
        <p>A mail is on its way. Open the link in it, in this browser, and you are in.</p>
      ) : (
        <form onSubmit={onSubmit}>
          <Field label="Name" name="name" autoComplete="name" required maxLength={80} autoFocus problem={problem} />
          <Field label="E-mail" name="email" type="email" autoComplete="username" required problem={problem} />
          <Field
            label="Password"
            name="password"
            type="password"
            autoComplete="new-password"
            required
            minLength={8}
            problem={problem}
          />
          <ProblemNote problem={problem} />
          <button type="submit" disabled={busy}>
            Sign up
          </button>
        </form>
      )}
      <p className="links">
        <Link href="/sign-in">Sign in instead</Link>
      </p>
    </main>
  );
}

/** The token of a mail's link is behind the #, which no browser sends to a server. */
function tokenOfLink(): string {
  return window.location.hash.slice(1);
}

export function VerifyEmail() {
  const [, go] = useLocation();
  const [elsewhere, setElsewhere] = useState(false);
  const { busy, problem, onSubmit } = useSubmit(async (form) => {
    const password = form.get("password");
    try {
      const body = { token: tokenOfLink(), ...(password === null ? {} : { password: String(password) }) };
      const account = await data(api.POST("/api/verify-email", { body }));
      if ("ticket" in account) {
        go("/sign-in", { replace: true });
        return;
      }
      signedIn(account as Account);
      go("/", { replace: true });
    } catch (error) {
      if (error instanceof Problem && error.status === 403) setElsewhere(true);
      throw error;
    }
  });
  return (
    <main className="card">
      <h1>Confirm your address</h1>
      <form onSubmit={onSubmit}>
        {elsewhere ? (
          <Field label="Password" name="password" type="password" autoComplete="current-password" required />
        ) : null}
        <ProblemNote problem={problem} />
        <button type="submit" disabled={busy} autoFocus>
          Confirm
        </button>
      </form>
    </main>
  );
}

export function ForgotPassword() {
  const [sent, setSent] = useState(false);
  const { busy, problem, onSubmit } = useSubmit(async (form) => {
    await data(api.POST("/api/forgot-password", { body: { email: String(form.get("email")) } }));
    setSent(true);
  });
  return (
    <main className="card">
      <h1>Forgot the password</h1>
      {sent ? (
        <p>If this address has an account, a mail is on its way. Its link is good for an hour.</p>
      ) : (
        <form onSubmit={onSubmit}>
          <Field label="E-mail" name="email" type="email" autoComplete="username" required autoFocus problem={problem} />
          <ProblemNote problem={problem} />
          <button type="submit" disabled={busy}>
            Mail me a link
          </button>
        </form>
      )}
      <p className="links">
        <Link href="/sign-in">Back to signing in</Link>
      </p>
    </main>
  );
}

export function ResetPassword() {
  const [done, setDone] = useState(false);
  const { busy, problem, onSubmit } = useSubmit(async (form) => {
    const body = {
      token: tokenOfLink(),
      password: String(form.get("password")),
      sign_out_others: form.get("others") === "on",
    };
    await data(api.POST("/api/reset-password", { body }));
    setDone(true);
  });
  return (
    <main className="card">
      <h1>Set a new password</h1>
      {done ? (
        <p>
          Done. <Link href="/sign-in">Sign in</Link> with it.
        </p>
      ) : (
        <form onSubmit={onSubmit}>
          <Field
            label="New password"
            name="password"
            type="password"
            autoComplete="new-password"
            required
            minLength={8}
            autoFocus
            problem={problem}
          />
          <label className="check">
            <input type="checkbox" name="others" defaultChecked /> Sign out on all devices
          </label>
          <ProblemNote problem={problem} />
          <button type="submit" disabled={busy}>
            Set it
          </button>
        </form>
      )}
    </main>
  );
}

export function ChangeEmail() {
  const [done, setDone] = useState(false);
  const { busy, problem, onSubmit } = useSubmit(async () => {
    await data(api.POST("/api/change-email", { body: { token: tokenOfLink() } }));
    setDone(true);
  });
  return (
    <main className="card">
      <h1>Change your address</h1>
      {done ? (
        <p>
          Done. Both addresses are told. <Link href="/">Go on</Link>
        </p>
      ) : (
        <form onSubmit={onSubmit}>
          <ProblemNote problem={problem} />
          <button type="submit" disabled={busy} autoFocus>
            Confirm the new address
          </button>
        </form>
      )}
    </main>
  );
}
