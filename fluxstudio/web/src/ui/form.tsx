import { useId, useState, type FormEvent, type InputHTMLAttributes, type ReactNode } from "react";

import { Problem } from "../api/client";

/** Runs a form: one submission at a time, and the problem it ended with. */
export function useSubmit(action: (form: FormData) => Promise<void>): {
  busy: boolean;
  problem: Problem | null;
  onSubmit: (event: FormEvent<HTMLFormElement>) => void;
} {
  const [busy, setBusy] = useState(false);
  const [problem, setProblem] = useState<Problem | null>(null);
  return {
    busy,
    problem,
    onSubmit(event) {
      event.preventDefault();
      if (busy) return;
      setBusy(true);
      setProblem(null);
      action(new FormData(event.currentTarget))
        .catch((error: unknown) =>
          setProblem(error instanceof Problem ? error : new Problem(0, "error", "Something went wrong. Try again.")),
        )
        .finally(() => setBusy(false));
    },
  };
}

type FieldProps = InputHTMLAttributes<HTMLInputElement> & { label: string; name: string; problem?: Problem | null };

export function Field({ label, problem, ...input }: FieldProps) {
  const id = useId();
  const message = problem?.of(input.name);
  return (
    <p className="field">
      <label htmlFor={id}>{label}</label>
      <input id={id} aria-invalid={message !== undefined} aria-describedby={`${id}-problem`} {...input} />
      <small id={`${id}-problem`} className="problem">
        {message}
      </small>
    </p>
  );
}

export function ProblemNote({ problem }: { problem: Problem | null }): ReactNode {
  return (
    <p className="problem" role="alert">
      {problem?.detail}
    </p>
  );
}
