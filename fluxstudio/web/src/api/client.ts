/** The typed API client: its types are generated from FluxStudio's OpenAPI document (`npm run api`). */
import createClient, { type Middleware } from "openapi-fetch";

import { mark, note } from "../pulse/clicks";
import type { components, paths } from "./schema";

export type Schemas = components["schemas"];

/** What the API answers when something can't be done: RFC 9457, with a word for programs and advice for people. */
export class Problem extends Error {
  constructor(
    readonly status: number,
    readonly code: string,
    readonly detail: string,
    readonly errors: readonly { field: string; message: string }[] = [],
    readonly retryAfterS: number | null = null,
  ) {
    super(detail);
    this.name = "Problem";
  }

  /** The message for one field of a form, without the place where it was found. */
  of(field: string): string | undefined {
    return this.errors.find((error) => error.field === field || error.field === `body.${field}`)?.message;
  }
}

const guestToken = { value: null as string | null };

/** From now on requests are a guest's, who holds a share link. The token goes in a header, never in an address. */
export function beGuest(token: string | null): void {
  guestToken.value = token;
}

/** What a request outside of this client needs besides the cookie. */
export function credentials(): Record<string, string> {
  return guestToken.value === null ? {} : { authorization: `Share ${guestToken.value}` };
}

const middleware: Middleware = {
  onRequest({ request }) {
    if (guestToken.value !== null) request.headers.set("authorization", `Share ${guestToken.value}`);
    mark(request);
    return request;
  },
  async onResponse({ request, response }) {
    note(request, response);
    if (response.ok || response.status === 304) return;
    throw await problemOf(response);
  },
  onError() {
    return new Problem(0, "offline", "The studio can't be reached. Check your connection.");
  },
};

export async function problemOf(response: Response): Promise<Problem> {
  const retry = Number(response.headers.get("retry-after"));
  try {
    const body = (await response.json()) as Partial<Problem> & { title?: string };
    return new Problem(
      response.status,
      body.code ?? "error",
      body.detail ?? body.title ?? response.statusText,
      body.errors ?? [],
      Number.isFinite(retry) && retry > 0 ? retry : null,
    );
  } catch {
    return new Problem(response.status, "error", response.statusText || "Something went wrong.");
  }
}

export const api = createClient<paths>({ baseUrl: "/", credentials: "same-origin" });
api.use(middleware);

/** Unwraps an answer: the middleware has thrown a `Problem` already where there was none. */
export async function data<T>(answer: Promise<{ data?: T; error?: unknown }>): Promise<T> {
  const { data: body } = await answer;
  return body as T;
}
