/** Who is in a room: the roster that joining it told, and the changes since. */
import { useEffect, useState } from "react";

import { on, type Person, type Told } from "./socket";

export function follow(people: readonly Person[], told: Told["presence"]): readonly Person[] {
  if (told.people !== undefined) return told.known === false ? people : told.people;
  const left = new Set(told.left ?? []);
  const joined = told.joined ?? [];
  const news = new Set(joined.map((person) => person.key));
  return [...people.filter((person) => !left.has(person.key) && !news.has(person.key)), ...joined].sort((a, b) =>
    a.key.localeCompare(b.key),
  );
}

/** Returns who is on a board, and the setter for what joining it tells. */
export function usePeople(board: number): [readonly Person[], (people: readonly Person[]) => void] {
  const [people, setPeople] = useState<readonly Person[]>([]);
  useEffect(
    () =>
      on("presence", (told) => {
        if (told.board_id === board) setPeople((before) => follow(before, told));
      }),
    [board],
  );
  return [people, setPeople];
}
