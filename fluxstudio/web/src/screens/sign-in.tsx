import { useLocation } from "wouter";

import { api, data } from "../api/client";
import { returnAddress } from "../app";
import { signedIn } from "../session";
import { Field, ProblemNote, useSubmit } from "../ui/form";

export function SignIn() {
  const [, go] = useLocation();
  const { busy, problem, onSubmit } = useSubmit(async (form) => {
    const body = { email: String(form.get("email")), password: String(form.get("password")) };
    signedIn(await data(api.POST("/api/sign-in", { body })));
    go(returnAddress(), { replace: true });
  });
  return (
    <main className="card">
      <h1>Sign in to FluxStudio</h1>
      <form onSubmit={onSubmit}>
        <Field label="E-mail" name="email" type="email" autoComplete="username" required autoFocus problem={problem} />
        <Field
          label="Password"
          name="password"
          type="password"
          autoComplete="current-password"
          required
          problem={problem}
        />
        <ProblemNote problem={problem} />
        <button type="submit" disabled={busy}>
          Sign in
        </button>
      </form>
    </main>
  );
}
